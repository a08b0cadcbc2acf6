# mjtask: builds the C core and runs what a checkout needs; see `make help`.

BUILD       ?= build
CFLAGS      ?= -O2 -g
PKG_CONFIG  ?= pkg-config
PREFIX      ?= /usr/local
INST_LUADIR ?= $(PREFIX)/share/lua/5.4
INST_LIBDIR ?= $(PREFIX)/lib/lua/5.4
INST_BINDIR ?= $(PREFIX)/bin
INST_DATADIR ?= $(PREFIX)/share/mjtask
OBJCOPY     ?= objcopy

# $(call once,NAME,COMMAND): the command's output, kept from its first use on.
# Not sooner, so that `make deps demo` finds what `deps` has just installed.
once = $(eval $(1) := $(shell $(2)))$($(1))

LUA         = $(call once,LUA,for l in lua5.4 lua-5.4 lua54 lua; do $$l -e 'os.exit(_VERSION == "Lua 5.4")' \
                2>/dev/null && echo $$l && exit; done; echo lua5.4)
LUAC        = $(call once,LUAC,for l in luac5.4 luac-5.4 luac54 luac; do $$l -v 2>/dev/null | grep -q 'Lua 5\.4' \
                && echo $$l && exit; done; echo luac5.4)
LUA_CFLAGS  = $(call once,LUA_CFLAGS,for p in lua5.4 lua-5.4 lua54 lua; do $(PKG_CONFIG) --cflags \
                "$$p >= 5.4 $$p < 5.5" 2>/dev/null && exit; done)
LUA_LIBS    = $(call once,LUA_LIBS,for p in lua5.4 lua-5.4 lua54 lua; do $(PKG_CONFIG) --libs \
                "$$p >= 5.4 $$p < 5.5" 2>/dev/null && exit; done)
CURL_CFLAGS = $(call once,CURL_CFLAGS,$(PKG_CONFIG) --cflags libcurl 2>/dev/null || curl-config --cflags 2>/dev/null)
CURL_LIBS   = $(call once,CURL_LIBS,$(PKG_CONFIG) --libs libcurl 2>/dev/null || curl-config --libs 2>/dev/null \
                || echo -lcurl)

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -pedantic
FORTIFY   = $(if $(findstring -fsanitize,$(CFLAGS)),,$(if $(filter -O1 -O2 -O3 -Os -Og,$(CFLAGS)),\
              -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
ifeq ($(shell uname -s),Darwin)
  SHARED   := -bundle -undefined dynamic_lookup
  LOCALIZE := : # by ld -r already: what is hidden becomes local there
else # nodelete: libcurl's resolver threads may outlive lua_close
  SHARED   := -shared -Wl,-z,relro,-z,now,-z,nodelete
  SYSTEM   := -lpthread -ldl
  # Without groups: the linker would take another's function of that name for ours.
  GROUPS   := -Wl,--force-group-allocation
  LOCALIZE  = $(OBJCOPY) --keep-global-symbol=luaopen_mjtask --keep-global-symbol=luaopen_mjtask_core
endif
COMPILE = $(CC) -std=c99 $(WARNINGS) -fPIC -fvisibility=hidden -fstack-protector-strong $(FORTIFY) \
          $(LUA_CFLAGS) $(CURL_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK    = $(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) $(OBJECTS) $(CURL_LIBS) $(SYSTEM)
# The sanitizers' own library is for who links the program.
PARTIAL = $(CC) -r -nostdlib $(GROUPS) $(CFLAGS) -fno-sanitize=all \
          $(if $(findstring -flto,$(CFLAGS)),-flinker-output=nolto-rel)

CORE      := $(BUILD)/lib/mjtask/core.so
ARCHIVE   := $(BUILD)/static/libmjtask.a
OBJECTS   := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/*.c))
EMBEDDED  := $(BUILD)/obj/static/open.o $(BUILD)/static/sources.o
LUA_FILES := $(sort $(shell find lua -name '*.lua'))
LIBRARY   := $(filter-out lua/mjtask/cli/%,$(LUA_FILES))
ROCKSPECS := $(wildcard *.rockspec rockspecs/*.rockspec)
ALL_LUA    = $(shell find $(wildcard lua src spec examples bench library fuzz) -name '*.lua') \
             $(wildcard bin/mjtask .busted .luacheckrc) $(ROCKSPECS)
ALL_C      = $(wildcard src/*.c src/*/*.c spec/c/*.c examples/*/*.c bench/c/*.c fuzz/*.c)
ALL_H      = $(wildcard src/*.h src/*/*.h spec/c/*.h bench/c/*.h fuzz/*.h)

MAKEFLAGS += --no-print-directory
unexport LUA_PATH_5_4 LUA_CPATH_5_4
Q = $(if $(V),,@)
comma := ,
.DELETE_ON_ERROR:


all: $(CORE) ## build the C core (V=1 shows the commands)

$(CORE): $(OBJECTS)
	@mkdir -p $(@D)
	@echo 'LD $@'
	$(Q)$(LINK) -o $@

$(BUILD)/obj/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo 'CC $<'
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d) $(EMBEDDED:.o=.d)

# Written anew when a flag or the list of files changes, and then all is built
# anew. What the build needs is looked for only then.
$(BUILD)/flags: force | $(filter deps,$(MAKECMDGOALS))
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LINK)' | cmp -s - $@ || { $(MAKE) -s headers && echo '$(COMPILE) $(LINK)' > $@; }

static: $(ARCHIVE) ## build build/static/libmjtask.a: all of mjtask for a host in C

# One object, in which only what a host calls is global: our C files share names
# with half of the world's.
$(ARCHIVE): $(OBJECTS) $(EMBEDDED)
	@echo 'AR $@'
	$(Q)$(PARTIAL) -o $(@D)/mjtask.o $^
	$(Q)$(LOCALIZE) $(@D)/mjtask.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(@D)/mjtask.o

$(BUILD)/static/sources.c: src/static/embed.lua $(LIBRARY) $(BUILD)/static/files
	@echo 'LUA $@'
	$(Q)$(LUA) src/static/embed.lua $(LIBRARY) > $@

$(BUILD)/static/sources.o: $(BUILD)/static/sources.c $(BUILD)/flags
	@echo 'CC $<'
	$(Q)$(COMPILE) -Isrc/static -MMD -MP -c -o $@ $<

# Written anew when a Lua file comes or goes.
$(BUILD)/static/files: force
	@mkdir -p $(@D)
	@echo '$(LIBRARY)' | cmp -s - $@ || echo '$(LIBRARY)' > $@


fail    = { echo "mjtask: $(1) (or run: make deps)" >&2; exit 1; }
compile = printf '$(1)\n' | $(CC) $(LUA_CFLAGS) $(CURL_CFLAGS) $(CPPFLAGS) -E - >/dev/null 2>&1

headers:
	@command -v $(firstword $(CC)) >/dev/null || $(call fail,no C compiler "$(CC)": install gcc and libc6-dev)
	@$(call compile,#include <lua.h>) || command -v $(PKG_CONFIG) >/dev/null || \
	  $(call fail,no $(PKG_CONFIG)$(comma) which tells where Lua is: install pkg-config or pkgconf)
	@$(call compile,#include <lua.h>\n#if LUA_VERSION_NUM != 504\n#error\n#endif) || \
	  $(call fail,no headers of Lua 5.4: install liblua5.4-dev$(comma) lua5.4-dev or lua-devel)
	@$(call compile,#include <curl/curl.h>) || \
	  $(call fail,no headers of libcurl: install libcurl4-openssl-dev$(comma) curl-dev or libcurl-devel)

# What bench/ compares the library with. The linker exports Lua's functions, for lua-cjson.
PROGRAMS := $(addprefix $(BUILD)/bench/,measure bare curl_easy curl_multi floor.so)
CLIENT   := bench/c/client.c
CURLED   := $(CLIENT) bench/c/request.c bench/c/decoder.c

programs: $(PROGRAMS)

$(BUILD)/bench/measure: bench/c/measure.c
$(BUILD)/bench/bare: bench/c/bare.c $(CLIENT)
$(BUILD)/bench/curl_easy: bench/c/curl_easy.c $(CURLED)
$(BUILD)/bench/curl_multi: bench/c/curl_multi.c $(CURLED)
$(BUILD)/bench/floor.so: bench/c/floor.c

$(BUILD)/bench/%: $(wildcard bench/c/*.h) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo 'CC $@'
	$(Q)$(COMPILE) $(LDFLAGS) -o $@ $(filter %.c,$^) \
	  $(if $(filter %.so,$@),$(SHARED),-Wl$(comma)-E $(LUA_LIBS) $(CURL_LIBS) $(SYSTEM))


help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

# Debian's names. Another flavour of libcurl's headers is as good.
PACKAGES      = make gcc libc6-dev pkg-config liblua5.4-dev lua5.4 ca-certificates lua-cjson lua-argparse \
                lua-busted lua-socket lua-sec $(shell $(PKG_CONFIG) --exists libcurl 2>/dev/null || echo libcurl4-openssl-dev)
LINT_PACKAGES = lua-check clang-format clang-tidy cppcheck

LINT_TOOLS    = luacheck clang-format clang-tidy cppcheck

deps: ## install what build, demo and tests need (apt-get; elsewhere says what)
	@if $(MAKE) -s have 2>/dev/null; then echo 'deps: nothing to do'; \
	  elif command -v apt-get >/dev/null; then $(call apt,$(PACKAGES)); else $(elsewhere); fi

deps-lint: ## install what lint needs
	@if (for t in $(LINT_TOOLS); do command -v $$t >/dev/null || exit; done); then echo 'deps-lint: nothing to do'; \
	  elif command -v apt-get >/dev/null; then $(call apt,$(LINT_PACKAGES)); \
	  else echo 'deps-lint: no apt-get here, please install $(LINT_TOOLS)' >&2; exit 1; fi

# What bench/ compares with, and its tools. Debian has lua-http for older Luas; it runs.
BENCH_PACKAGES = nginx-light openssl util-linux strace valgrind gnuplot-nox curl nodejs lua-cjson lua-dkjson lua-lpeg \
                 lua-socket lua-sec lua-http lua-cqueues lua-luaossl python3-requests python3-httpx python3-aiohttp
bench-deps: ## install what bench compares with (apt-get; what is missing is left out there)
	@missing=; for p in $(BENCH_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q ' ok installed$$' || missing="$$missing $$p"; done; \
	if command -v node >/dev/null; then missing=$$(echo $$missing | sed 's/\bnodejs\b//'); fi; \
	if [ -z "$${missing# }" ]; then echo 'bench-deps: nothing to do'; \
	  elif command -v apt-get >/dev/null; then $(call apt,$${missing# }); \
	  else echo "bench-deps: no apt-get here; Debian's names are$$missing" >&2; exit 1; fi

have: headers
	@$(LUA) -e 'require "cjson"; require "argparse"; require "socket"; require "ssl"; require "busted"'

define apt
  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
  command -v $${sudo:-env} >/dev/null || { echo "please run as root: apt-get install $(1)" >&2; exit 1; }; \
  $$sudo apt-get update -q && \
  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(1)
endef

define elsewhere
  rocks='luarocks --lua-version 5.4'; \
  if command -v apk; then system='apk add build-base pkgconf lua5.4 lua5.4-dev curl-dev luarocks5.4'; \
    rocks=luarocks-5.4; \
  elif command -v dnf; then system='dnf install make gcc pkgconf lua lua-devel libcurl-devel luarocks'; \
  elif command -v pacman; then system='pacman -S --needed base-devel lua54 curl luarocks'; \
  elif command -v brew; then system='brew install lua@5.4 curl pkgconf luarocks'; \
    rocks="$$rocks --lua-dir=$$(brew --prefix lua@5.4)"; \
  else system='your package manager, for what Debian calls $(PACKAGES)'; fi >/dev/null; \
  printf 'deps: no apt-get here, please run (nobody has tried this yet)\n  %s\n' "$$system" >&2; \
  for rock in lua-cjson argparse luasocket luasec busted; do echo "  $$rocks install $$rock" >&2; done; exit 1
endef

# $(call paths,BUILD): where Lua finds the checkout, with that build
path  = LUA_PATH=$(value_of_path)
cpath = LUA_CPATH=$(value_of_cpath)
value_of_path  = '$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua$(call own,LUA_PATH);;'
value_of_cpath = '$(CURDIR)/$(1)/lib/?.so$(call own,LUA_CPATH);;'
own   = $(if $($(1)_5_4)$($(1)),;$(or $($(1)_5_4),$($(1))))
paths = $(path) $(cpath)
# $(call suite,BUILD,VARIABLES): the specs, with that build
suite = $(paths) $(2) $(LUA) spec/run.lua --cpath='$(CURDIR)/$(1)/lib/?.so' $(ARGS)

# $(call heard,NAME): NAME, or NAME_5_4 where that is set, since Lua then does not look at NAME
heard = $(1)$(if $(filter environment%,$(origin $(1)_5_4)),_5_4)

env: ## print the paths of this checkout, for eval "$(make -s env)"
	@echo "export $(call heard,LUA_PATH)=$(value_of_path)"
	@echo "export $(call heard,LUA_CPATH)=$(call value_of_cpath,$(BUILD))"
	@echo "export PATH='$(CURDIR)/bin':\"\$$PATH\""

demo: all ## run examples/demo.lua
	@$(call paths,$(BUILD)) $(LUA) examples/demo.lua

test: all ## run the specs (ARGS="spec/x_spec.lua --filter=y" runs some)
	@$(call suite,$(BUILD))

N = 10
LOG = $(BUILD)/repeat.log

repeat: all ## run the specs N=10 times, or until they fail (ARGS as for test)
	@begun=$$(date +%s); took () { echo "$$(($$(date +%s) - begun)) s"; }; \
	for n in $$(seq $(N)); do \
	  $(call suite,$(BUILD)) > $(LOG) 2>&1 || { cat $(LOG); echo "repeat: round $$n failed, $$(took)" >&2; exit 1; }; \
	  echo "$$n of $(N): $$(grep ' success.* failure.* error' $(LOG)), $$(took)"; \
	done

SANITIZE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

asan: ## run the specs under the address, leak and undefined behaviour sanitizers
	@$(MAKE) all static BUILD=build/asan CC=gcc CFLAGS='$(SANITIZE)'
	@$(call suite,build/asan,LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	  ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1)

stress: all ## run the specs while the collector works all the time, in both its modes
	@$(call suite,$(BUILD),MJTASK_GC=incremental)
	@$(call suite,$(BUILD),MJTASK_GC=generational)

# The specs of what C and Lua share: who owns what, who holds whom.
BORDER = $(patsubst %,spec/%_spec.lua,engine schedule async async_end async_gc loop pollfd watch watch_loop \
         watch_callback hint fetch fetch_many wait download submit press client)

valgrind: ARGS = $(BORDER)
valgrind: all ## run the specs of what C and Lua share under memcheck (ARGS="spec/x_spec.lua": others)
	@command -v valgrind >/dev/null || { echo 'not run: valgrind is not installed' >&2; exit 1; }
	@$(call suite,$(BUILD),valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite \
	  --errors-for-leak-kinds=definite)

# Several threads count at once; gcovr takes no count that a race has left.
COVERED = CC=gcc BUILD=build/coverage CFLAGS='-O0 -g --coverage -fprofile-update=atomic -DNDEBUG'

coverage: ## which lines of src/ (specs, and make oom) and of lua/ (specs) are never run?
	@command -v gcovr >/dev/null || { echo 'not run: gcovr is not installed' >&2; exit 1; }
	@$(MAKE) all static build/coverage/oom $(COVERED)
	@find build/coverage -name '*.gcda' -delete
	@: > build/coverage/lines
	@$(call suite,build/coverage,MJTASK_LINES='$(CURDIR)/build/coverage/lines'); status=$$?; \
	  $(LUA) spec/coverage.lua build/coverage/lines && exit $$status
	@$(call paths,build/coverage) build/coverage/oom spec/c/oom.lua $(LUA) > build/coverage/oom.log
	@gcovr --object-directory build/coverage -r . -f src/ --exclude-unreachable-branches

hosts: all ## run examples/darktable inside darktable-cli, which is too large for the specs
	@$(call paths,$(BUILD)) $(LUA) spec/support/darktable.lua

noepoll: ## run the specs with a build for systems without epoll
	@$(MAKE) all static BUILD=build/noepoll CPPFLAGS='$(CPPFLAGS) -DMJTASK_NO_EPOLL'
	@$(call suite,build/noepoll)

# What the core asks for memory by: in the host of oom spec/c/refusal.c stands in between.
REFUSED     := malloc calloc realloc strdup pthread_atfork curl_easy_init curl_easy_setopt curl_global_init \
               curl_multi_add_handle curl_multi_init curl_share_init curl_share_setopt curl_slist_append curl_url \
               curl_url_get curl_url_set
OOM_OBJECTS := $(patsubst spec/c/%.c,$(BUILD)/obj/oom/%.o,$(wildcard spec/c/*.c))

$(BUILD)/obj/oom/%.o: spec/c/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo 'CC $<'
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

-include $(OOM_OBJECTS:.o=.d)

$(BUILD)/oom: $(OOM_OBJECTS) $(OBJECTS)
	@echo 'LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(REFUSED:%=-Wl,--wrap=%) -Wl,-E $(LUA_LIBS) $(CURL_LIBS) $(SYSTEM) -lm -o $@

# $(call oom,BUILD,CPPFLAGS,ARGUMENTS)
oom = $(MAKE) $(1)/oom BUILD=$(1) CC=gcc CFLAGS='$(SANITIZE)' CPPFLAGS='$(CPPFLAGS) $(2)' && \
      $(call paths,$(1)) ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
      $(1)/oom spec/c/oom.lua $(LUA) $(3) $(ARGS)

oom: ## let memory run out at each request of each operation, under the sanitizers (ARGS="wait close")
	@$(call oom,build/asan)
	@$(call oom,build/asan-noepoll,-DMJTASK_NO_EPOLL,--core)

FUZZERS   = decode headers task url
FUZZ      = $(MAKE) -s BUILD=build/fuzz CC=clang CFLAGS='-O1 -g -fno-omit-frame-pointer \
            -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all'
SECONDS  ?= 60

fuzz: ## fuzz the core with clang's libFuzzer, SECONDS=60 in all; exits with 1 if it finds anything
	@fuzz/run --probe
	@$(FUZZ) $(FUZZERS:%=build/fuzz/%_fuzzer)
	@fuzz/run $(SECONDS) $(FUZZERS)

PORTABLE := $(BUILD)/obj/decode_portable.o

$(BUILD)/%_fuzzer: $(BUILD)/obj/%_fuzzer.o $(OBJECTS) $(PORTABLE)
	@echo 'LD $@'
	$(Q)$(CC) -fsanitize=fuzzer $(CFLAGS) $(LDFLAGS) $^ $(CURL_LIBS) $(LUA_LIBS) $(SYSTEM) -o $@

$(BUILD)/obj/%_fuzzer.o: fuzz/%_fuzzer.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo 'CC $<'
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# The decoder as it is where there is no SSE2, to be compared with.
$(PORTABLE): src/decode.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -DDECODE_PORTABLE -Ddecode=decode_portable -MMD -MP -c -o $@ $<

-include $(FUZZERS:%=$(BUILD)/obj/%_fuzzer.d)

DOCUMENTS ?= 100000

differential: all ## compare the decoder with Python's on DOCUMENTS=100000 (SEED=n: others)
	@$(call paths,$(BUILD)) $(LUA) spec/support/differential.lua $(DOCUMENTS) $(SEED)

mutants: all ## remove guards from the sources, one by one, and see that the specs notice
	@$(LUA) spec/mutants.lua $(ARGS)

soak: all ## use everything for SECONDS=60 while everything breaks (SEED=n; FETCHES=n: and so many fetches)
	@$(call paths,$(BUILD)) $(LUA) spec/soak.lua $(FETCHES:%=--fetches=%) $(SECONDS) $(SEED)

# Not instrumented are libcurl, its TLS library and, unless LUA_SRC says where its
# sources are, Lua: of these the sanitizer sees what they ask of the C library, such
# as locks and memcpy. So it finds races between accesses of ours, and between ours
# and such calls of theirs; it does not see two threads meet inside of Lua.
RACES    = -O1 -g -fno-omit-frame-pointer -fsanitize=thread
TSAN_LUA = $(if $(LUA_SRC),-I$(LUA_SRC) -DLUA_USE_POSIX $(filter-out %/lua.c %/luac.c,$(wildcard $(LUA_SRC)/*.c)), \
             $(LUA_CFLAGS) $(LUA_LIBS))

tsan: ## race 16 threads, a state each, under the thread sanitizer (CC, LUA_SRC=DIR)
	@$(MAKE) static BUILD=build/tsan CFLAGS='$(RACES)'
	@$(CC) $(RACES) -DSTATIC -o build/tsan/host spec/support/host.c build/tsan/static/libmjtask.a \
	  $(TSAN_LUA) $(CURL_LIBS) $(SYSTEM) -lm
	@$(LUA) spec/tsan.lua build/tsan/host

# The measurements' own modules, beside the library's; what they start is of the same build.
measured = BUILD='$(BUILD)' LUA='$(LUA)' $(path) \
           LUA_CPATH='$(CURDIR)/$(BUILD)/lib/?.so;$(CURDIR)/$(BUILD)/bench/?.so$(call own,LUA_CPATH);;' \
           $(LUA)

portable:
	@$(MAKE) all BUILD=build/portable CPPFLAGS='$(CPPFLAGS) -DDECODE_PORTABLE'

bench: all programs portable ## measure everything against peers, and write bench/RESULTS.md (ten minutes)
	@$(measured) bench/run.lua full

bench-quick: all programs portable ## the same in two minutes, with less to be trusted; writes nothing
	@$(measured) bench/run.lua quick

bench-check: all programs portable ## does every measurement run? Its numbers mean nothing
	@$(measured) bench/run.lua check

instructions: all ## count instructions and system calls of a fetch, against bench/limits.lua
	@$(measured) bench/instructions.lua

# What the sources say they are, and the newest rockspec of that version.
VERSION  = $(call once,VERSION,sed -n 's/^  _VERSION = "\(.*\)"$(comma)$$/\1/p' lua/mjtask/init.lua)
ROCKSPEC = $(lastword $(sort $(foreach file,$(ROCKSPECS),$(if $(findstring mjtask-$(VERSION)-,$(file)),$(file)))))

rock: ## install the rock into a scratch tree, and require it from there
	@rm -rf build/rock && mkdir -p build/rock/checkout
	@cp -R src lua bin spec docs examples library rockspecs *.rockspec build/rock/checkout
	@if $(LUA) -e 'require "cjson"; require "argparse"' 2>/dev/null; \
	  then echo 'rocks_provided = { ["lua-cjson"] = "2.1.0-1", argparse = "0.7.1-1" }'; fi > build/rock/config.lua
	@cd build/rock/checkout && export LUAROCKS_CONFIG='$(CURDIR)/build/rock/config.lua' && \
	  for file in $(ROCKSPECS); do luarocks --lua-version 5.4 lint $$file || exit; done && \
	  luarocks --lua-version 5.4 make --tree '$(CURDIR)/build/rock/tree' $(ROCKSPEC)
	@cd build/rock/tree && \
	  LUA_PATH="$$PWD/share/lua/5.4/?.lua;$$PWD/share/lua/5.4/?/init.lua;;" LUA_CPATH="$$PWD/lib/lua/5.4/?.so;;" \
	  $(LUA) -e 'assert(require "mjtask"._VERSION == "$(VERSION)"); print "rock: installed and required"'
	@[ "$$(cd / && '$(CURDIR)/build/rock/tree/bin/mjtask' --version)" = 'mjtask $(VERSION)' ]

# $(call lint,TOOL,COMMAND): silent when clean; a missing tool is a failure too
lint = @command -v $(1) >/dev/null || { echo 'not run: $(1) is not installed' >&2; exit 1; }; \
       out=$$($(2) 2>&1) || { printf '%s\n' "$$out" >&2; exit 1; }
STRICT   = $(MAKE) all static programs fuzz-objects oom-objects CFLAGS='-O2 -g -Werror'
ANALYZE  = $(MAKE) all static programs oom-objects CFLAGS='-O2 -g -Werror -fanalyzer' CC=gcc BUILD=build/gcc
EXAMPLES = for file in examples/*/*.c; do gcc -std=c99 $(WARNINGS) -O2 -Werror -fanalyzer $(LUA_CFLAGS) \
           -DWITH_CJSON -c -o /dev/null $$file || exit; done
CPPCHECK = cppcheck -q --std=c99 --enable=warning,style,performance,portability --inline-suppr \
           --suppress=missingIncludeSystem --suppress=toomanyconfigs --error-exitcode=1
# Off: feature macros, snprintf that may cut short, and memchr in a literal are meant.
TIDY     = clang-tidy --quiet --warnings-as-errors='*' --checks='-*, bugprone-*, cert-*, clang-analyzer-*, \
           performance-*, portability-*, -bugprone-easily-swappable-parameters, -bugprone-reserved-identifier, \
           -cert-dcl37-c, -cert-dcl51-cpp, -cert-err33-c, -bugprone-not-null-terminated-result'

lint: lint-lua lint-c ## check the sources: luacheck, luac, clang-format, compilers, cppcheck, clang-tidy

check: lint test asan stress noepoll oom tsan rock ## lint, test, asan, stress, noepoll, oom, tsan and rock

oom-objects: $(OOM_OBJECTS)

fuzz-objects: $(FUZZERS:%=$(BUILD)/obj/%_fuzzer.o)

# luac 5.4.4 crashes when it is given many files at once.
lint-lua:
	$(call lint,luacheck,luacheck -q --no-color $(ALL_LUA))
	$(call lint,$(LUAC),for file in $(ALL_LUA); do $(LUAC) -p $$file || exit; done)

# clang-tidy 14 knows no va_start after its first file.
lint-c:
	$(call lint,clang-format,clang-format --dry-run -Werror $(ALL_C) $(ALL_H))
	$(call lint,gcc,$(ANALYZE))
	$(call lint,gcc,$(EXAMPLES))
	@command -v clang >/dev/null || echo 'not run: clang is not installed'
	$(if $(shell command -v clang),$(call lint,clang,$(STRICT) CC=clang BUILD=build/clang))
	$(call lint,cppcheck,$(CPPCHECK) src spec/c examples bench/c fuzz)
	$(call lint,clang-tidy,for file in $(ALL_C); do \
	  $(TIDY) $$file -- -std=c99 $(LUA_CFLAGS) $(CURL_CFLAGS) $(CPPFLAGS) || exit; done)


# What `mjtask simulate` runs: the server of our specs, and no more of them.
SIMULATOR = $(wildcard spec/fixtures/*.json) $(patsubst %,spec/support/%.lua,auth chance connection control dialects faults \
            forwarder generator gzip images json literal lives loop pictures relay results service serving submits tasks)
TYPES     = $(shell find library -name '*.lua')

install: all ## install for Lua 5.4 (PREFIX, DESTDIR, INST_LUADIR, INST_LIBDIR, INST_BINDIR, INST_DATADIR)
	@for file in $(LUA_FILES:lua/%=%); do \
	  install -d '$(DESTDIR)$(INST_LUADIR)'/$${file%/*} && \
	  install -m 644 lua/$$file '$(DESTDIR)$(INST_LUADIR)'/$$file || exit; done
	@install -d '$(DESTDIR)$(INST_LIBDIR)/mjtask' '$(DESTDIR)$(INST_BINDIR)'
	@install -m 755 $(CORE) '$(DESTDIR)$(INST_LIBDIR)/mjtask/core.so'
	@sed '1s|lua5\.4|$(notdir $(LUA))|' bin/mjtask > $(BUILD)/mjtask
	@install -m 755 $(BUILD)/mjtask '$(DESTDIR)$(INST_BINDIR)/mjtask'
	@for file in $(SIMULATOR:spec/%=%); do \
	  install -d '$(DESTDIR)$(INST_DATADIR)'/$${file%/*} && \
	  install -m 644 spec/$$file '$(DESTDIR)$(INST_DATADIR)'/$$file || exit; done
	@for file in $(TYPES); do \
	  install -d '$(DESTDIR)$(INST_DATADIR)'/$${file%/*} && \
	  install -m 644 $$file '$(DESTDIR)$(INST_DATADIR)'/$$file || exit; done

uninstall: ## remove what install put there
	@rm -rf '$(DESTDIR)$(INST_LUADIR)/mjtask' '$(DESTDIR)$(INST_LIBDIR)/mjtask' '$(DESTDIR)$(INST_DATADIR)'
	@rm -f '$(DESTDIR)$(INST_BINDIR)/mjtask'

clean: ## remove what was built, and what `luarocks make` leaves behind
	@rm -rf build mjtask src/*.o src/*.so *.so *.rock

.PHONY: all static programs portable headers help deps deps-lint bench-deps have env demo test repeat asan stress \
        hosts noepoll valgrind coverage oom fuzz differential mutants soak tsan bench bench-quick bench-check \
        instructions rock check lint lint-lua lint-c fuzz-objects oom-objects install uninstall clean force
