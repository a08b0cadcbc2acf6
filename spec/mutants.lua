-- Takes guards out of the sources, one by one, and sees that the suite notices: a guard that can be
-- removed in silence is not proved. Works on a copy in build/mutants, on which each spec is run
-- untouched first: one that fails anyway notices nothing.
-- `lua5.4 spec/mutants.lua [PATTERN]` tries those whose name has it. Run by `make mutants`.

local socket = require "socket"

local COPY = "build/mutants"
local UNTOUCHED = 600 -- seconds that a spec may take when nothing is removed
-- A mutant that hangs has been noticed, too: so many times what the spec took, seconds at least.
local TIMES, LEAST = 5, 20

local pattern = arg[1] or ""
local guards, survivors = {}, {}
local limits = {} -- seconds, by spec: it has passed on the untouched copy

local function run(command, ...)
  return os.execute("cd " .. COPY .. " && " .. command:format(...) .. " > mutant.log 2>&1")
end

local function read(path)
  local file <close> = assert(io.open(COPY .. "/" .. path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(COPY .. "/" .. path, "wb"))
  assert(file:write(text))
end

local function replace(path, text, from, to)
  local first, last = text:find(from, 1, true)
  assert(first, path .. " does not have: " .. from)
  assert(not text:find(from, last + 1, true), path .. " has more than once: " .. from)
  return text:sub(1, first - 1) .. to .. text:sub(last + 1)
end

-- "x" is x_spec.lua, "x@asan" the same under the sanitizers; "x@oom" lets memory run out in the
-- operation x of spec/c/operations.lua. Returns whether it passed, and whether it hung.
local function passes(name, seconds)
  local spec, target = name:match "^([^@]*)@?(.*)$"
  if target ~= "oom" then
    spec = ("spec/%s_spec.lua"):format(spec)
    assert(io.open(spec)):close()
  end
  target = target ~= "" and target or "test"
  local ok, _, status = run("timeout %d make -s %s ARGS=%s", math.ceil(seconds), target, spec)
  return ok, status == 124
end

-- To be called while the copy is as the sources are.
local function measure(name)
  local start = socket.gettime()
  if not passes(name, UNTOUCHED) then
    error(("%s fails with nothing removed, see %s/mutant.log"):format(name, COPY), 0)
  end
  limits[name] = math.max(LEAST, TIMES * (socket.gettime() - start))
end

-- The first of the specs that notices it.
local function killer(specs)
  for name in specs:gmatch "%S+" do
    local ok, hangs = passes(name, limits[name])
    if not ok then return hangs and name .. " (hangs)" or name end
  end
end

-- Puts `to` for `from`, which stands once in the file. Returns what undoes it.
local function edit(path, from, to)
  local text = read(path)
  write(path, replace(path, text, from, to))
  return function() write(path, text) end
end

local function do_nothing() end

-- One of the specs is expected to fail with `to` in place of `from`. The rest is the same once
-- more, where two guards do the same.
local function try(name, path, specs, from, to, ...)
  if not name:find(pattern, 1, true) then return end
  guards[#guards + 1] = table.pack(name, path, specs, from, to, ...)
end

-- A guard that is written otherwise by now is told before any is removed.
local function find(_, path, _, from, to, other, other_from, other_to)
  replace(path, read(path), from, to)
  if other then replace(other, read(other), other_from, other_to) end
end

local function remove(name, path, specs, from, to, ...)
  for each in specs:gmatch "%S+" do
    if not limits[each] then measure(each) end
  end
  local undo, undo_other = edit(path, from, to), do_nothing
  if ... then undo_other = edit(...) end
  assert(run "make -s", name .. ": does not compile, see " .. COPY .. "/mutant.log")
  local spec = killer(specs)
  undo()
  undo_other()
  if not spec then survivors[#survivors + 1] = name end
  print(("%-10s %-40s %s"):format(spec and "noticed" or "SURVIVED", name, spec or specs))
  io.stdout:flush()
end

assert(os.execute(("rm -rf %s && mkdir -p %s && cp -r $(git ls-files | cut -d/ -f1 | sort -u) %s")
  :format(COPY, COPY, COPY)))
assert(run "make -s", "the copy does not build")

-- src/transfer.c

try("the cap of a body", "src/transfer.c", "faults", [[
if (count > cap - transfer->size)]], [[
if (0)]])

try("the cap of a download", "src/transfer.c", "download", [[
if ((double)count > (double)transfer->cap - transfer->received ||
      transfer->expected > (double)transfer->cap)]], [[
if (0)]])

try("the reset of a handle", "src/transfer.c", "engine faults", [[
curl_easy_reset(easy);]], [[
;]])

try("the refusal to follow", "src/transfer.c", "secrets faults", [[
SET(CURLOPT_FOLLOWLOCATION, 0L);]], [[
SET(CURLOPT_FOLLOWLOCATION, 1L);]])

try("the certificate's check", "src/transfer.c", "tls", [[
SET(CURLOPT_SSL_VERIFYPEER, 1L);]], [[
SET(CURLOPT_SSL_VERIFYPEER, 0L);]])

try("the host's name in it", "src/transfer.c", "tls", [[
SET(CURLOPT_SSL_VERIFYHOST, 2L);]], [[
SET(CURLOPT_SSL_VERIFYHOST, 0L);]])

try("the least TLS", "src/transfer.c", "tls", [[
SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);]], [[
SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_0);]])

try("HTTP/0.9", "src/transfer.c", "faults engine", [[
SET(CURLOPT_HTTP09_ALLOWED, 0L);]], [[
SET(CURLOPT_HTTP09_ALLOWED, 1L);]])

try("~/.netrc", "src/transfer.c", "client", [[
SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);]], [[
SET(CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);]])

try("gzip, and nothing else", "src/transfer.c", "sizes client", [[
SET(CURLOPT_ACCEPT_ENCODING, "gzip");]], [[
SET(CURLOPT_ACCEPT_ENCODING, "");]])

try("the end of a film", "src/transfer.c", "download", [[
transfer->framed = size >= 6 && line[5] >= '2';]], [[
transfer->framed = 1;]])

try("the proxy that would read the key", "src/transfer.c", "client", [[
if (proxy == NULL && !profile->images && !profile->secure) proxy = "";]], [[
;]])

try("a submit that libcurl sends again", "src/transfer.c", "http2", [[
if (!transfer->begun++) return CURL_PREREQFUNC_OK;]], [[
return CURL_PREREQFUNC_OK;]])

try("a fresh connection", "src/transfer.c", "submit", [[
SET(CURLOPT_FRESH_CONNECT, (long)request->fresh);]], [[
SET(CURLOPT_FRESH_CONNECT, 0L);]])

try("pictures' own connections", "src/transfer.c", "faults", [[
SET(CURLOPT_FORBID_REUSE, (long)profile->images);]], [[
SET(CURLOPT_FORBID_REUSE, 0L);]])

try("the wait for a first connection", "src/transfer.c", "http2", [[
SET(CURLOPT_PIPEWAIT, (long)(profile->secure && !request->fresh));]], [[
SET(CURLOPT_PIPEWAIT, 0L);]])

try("a path as it is", "src/transfer.c", "download", [[
SET(CURLOPT_PATH_AS_IS, 1L);]], [[
SET(CURLOPT_PATH_AS_IS, 0L);]])

try("NO_PROXY and pictures", "src/transfer.c", "proxied", [[
if (request->guarded) SET(CURLOPT_NOPROXY, "");]], [[
;]])

try("a look-up that is left behind", "src/transfer.c", "host network", [[
SET(CURLOPT_QUICK_EXIT, 1L);]], [[
SET(CURLOPT_QUICK_EXIT, 0L);]])

-- src/engine.c

try("the last descriptor", "src/engine.c", "host network", [[
if ((transfer->images || transfer->engine->base.secure) && is_last(fd)) {]], [[
if (0) {]])

try("the address behind a name", "src/engine.c", "download", [[
if (transfer->guarded &&
      address_is_private(&address->addr, address->addrlen)) {]], [[
if (0) {]])

try("the streams of a connection", "src/engine.c", "http2", [[
#define STREAMS 1000L]], [[
#define STREAMS 100L]])

try("the first of a burst, before the rest", "lua/mjtask/schedule.lua", "http2", [[
local COLD = 100]], [[
local COLD = 10000]])

try("the first of a later burst", "lua/mjtask/schedule.lua", "http2", [[
owner.answered = owner.answered and owner.inflight > 0]], "")

try("the limit that libcurl forgets", "src/engine.c", "tls engine", [[
if (transfer != NULL && now < engine->limit) return;]], [[
return;]])

try("the fork's check", "src/engine.c", "host", [[
return engine->forks != forks;]], [[
(void)engine; return 0;]])

try("unlinking on close", "src/engine.c", "engine@asan", [[
while (engine->flying != NULL)
    engine_cancel(engine->flying);]], [[
;]])

-- src/pollset.c

try("the removal before a close", "src/pollset.c", "engine", [[
if (slot->have != 0) drop(set, fd);
  slot->want = 0;]], [[
slot->want = 0;]])

try("an error, told to who reads", "src/pollset.c", "faults", [[
((ready[i].events & (EPOLLERR | EPOLLHUP)) ? want : 0);]], [[
((ready[i].events & (EPOLLERR | EPOLLHUP)) ? POLLSET_WRITE : 0);]])

try("a zero that would disarm", "src/pollset.c", "engine async", [[
due = 1e-9; /* before the clock began: at once */]], [[
due = 0;]])

-- src/url.c

try("the id that is a path", "src/url.c", "ids", [[
if (text[0] == '.' && text[1] == '.' && size == 2) return 0;]], [[
;]])

try("the characters of an id", "src/url.c", "ids", [[
(text[i] == '\0' || strchr("-._~", text[i]) == NULL))]], [[
0)]])

try("the length of an id", "src/url.c", "ids", [[
return size <= URL_ID_MAX && is_segment(id, size);]], [[
return is_segment(id, size);]])

try("the user in a URL", "src/url.c", "client", [[
if (text[i] == '@') return "has a user name or an @";]], [[
;]])

try("the query in a URL", "src/url.c", "client", [[
if (text[i] == '?') return "has a query";]], [[
;]])

try("the dots in a URL", "src/url.c", "client", [[
if (has_dot_segment(parts->path)) return "has a . or .. in its path";]], [[
;]])

try("the escapes in a URL's host", "src/url.c", "fuzz_regression", [[
if (fault == NULL && has_escaped_host(copy))]], [[
if (0)]])

try("the slashes after a scheme", "src/url.c", "fuzz_regression", [[
if (strncmp(text + strcspn(text, ":"), "://", 3) != 0)]], [[
if (strstr(text, "://") == NULL)]])

-- src/mjtask.c

try("a module that stays mapped", "src/mjtask.c", "host", [[
  stay_mapped();]], [[
  (void)stay_mapped;]], "Makefile", [[
,-z,nodelete]], "")

try("plain http", "src/mjtask.c", "client", [[
if (fault == NULL && !base->secure && !base->loopback &&
      !field_boolean(L, options, "allow_http"))]], [[
if (0)]])

-- src/address.c

try("addresses mapped to IPv6", "src/address.c", "address", [[
memcmp(ip, mapped, 12) == 0 || ]], [[
]])

try("numbers for names", "src/address.c", "address", [[
if (ends_in_number(host, size)) return 1;]], [[
;]])

-- src/headers.c

try("a line break in a header", "src/headers.c", "client secrets", [[
if (value[i] < ' ' || value[i] > '~')]], [[
if (0)]])

try("a second key", "src/headers.c", "client secrets", [[
if (fault == NULL && headers->key != NULL && is_key(name, name_size))]], [[
if (0)]])

try("the key in memory after close", "src/headers.c", "secrets", [[
*byte++ = 0; /* volatile: a memset may be left out */]], [[
byte++;]])

try("the key in a server's words", "src/headers.c", "secrets", [[
blot_out(text, size, headers->key);]], [[
;]])

try("the half of a key", "src/headers.c", "secrets", [[
blot_out_cut(text, size, headers->key);]], [[
;]])

try("the end of a cut content type", "src/transfer.c", "secrets", [[
memcpy(end, ellipsis, sizeof ellipsis);]], [[
(void)end;]])

try("the end of a cut excerpt", "src/mjtask.c", "secrets", [[
if (size <= EXCERPT) return;]], [[
if (size > 0) return;]])

-- src/file.c

try("the picture's end", "src/file.c", "download", [[
? NULL : cut;
  if (has(head, "\xFF\xD8\xFF", 3))]], [[
? NULL : NULL;
  if (has(head, "\xFF\xD8\xFF", 3))]])

try("an existing file", "src/file.c", "download", [[
if (!overwrite || !(S_ISREG]], [[
if (!(S_ISREG]])

try("a file made meanwhile", "src/file.c", "download", [[
: rename_new(file->temporary, file->path)) != 0)]], [[
: rename(file->temporary, file->path)) != 0)]])

try("the parent's file", "src/file.c", "host download", [[
if (file->temporary != NULL && file->owner == getpid())]], [[
if (file->temporary != NULL)]])

try("what could not be written", "src/file.c", "disk", [[
if (written < 0 && errno != EINTR) file->failure = errno;]], [[
if (written < 0 && errno != EINTR) return 0;]])

-- src/engine.c

try("a timer that has fired", "src/engine.c", "host", [[
  engine_wake_at(engine, engine->wake); /* one that has fired ends no wait */
]], "")

-- src/host.c

try("the shelter from Ctrl-C", "src/host.c", "interrupt", [[
if (main_of(L) != L) {]], [[
if (1) {]])

try("a call that is begun", "src/host.c", "interrupt engine", [[
set_boolean(L, 1, "current", 0);]], "")

-- src/decode.c

try("the depth", "src/decode.c", "decode", [[
if (d->depth >= d->max_depth) return fail(d, p, "nested too deep");]], [[
;]])

try("a key that is like another", "src/decode.c", "decode", [[
if (kept == NULL || length != size || memcmp(kept, text, size) != 0) {]], [[
if (kept == NULL || length != size) {]])

-- lua/mjtask/schedule.lua

try("the deadline of a request", "lua/mjtask/schedule.lua", "wait retry fetch", [[
request.timeout = math.min(limit, deadline - owner.now())]], [[
request.timeout = limit]])

try("max_inflight", "lua/mjtask/schedule.lua", "schedule", [[
if has_place(owner) and owner.queue:is_empty() then return true end]], [[
if true then return true end]])

try("an error kept for later", "lua/mjtask/deliveries.lua", "schedule async", [[
failed, problem = true, err]], [[
error(err, 0)]])

try("nobody's deliveries", "lua/mjtask/deliveries.lua", "schedule async", [[
while delivery and delivery.owner and delivery.owner.abandoned do delivery = queue:pop() end]], [[
]])

-- lua/mjtask/retry.lua

try("the submit that is sent once", "lua/mjtask/retry.lua", "submit", [[
local sent_once = request.once and not err.unsent]], [[
local sent_once = false]])

try("an answer to another's question", "lua/mjtask/retry.lua", "faults", [[
err.stray = transfer:kept() end]], [[
err.stray = nil end]])

try("a connection of its own", "src/mjtask.c", "fetch", [[
lua_pushboolean(L, transfer->connections == 0);]], [[
lua_pushboolean(L, 1);]])

-- lua/mjtask/actions.lua

try("the fresh connection of a submit", "lua/mjtask/actions.lua", "submit", [[
body = json, fresh = true, once = true,]], [[
body = json, once = true,]])

try("the fresh connection of a seed", "lua/mjtask/actions.lua", "faults cancel_seed", [[
"/image-seed", fresh = true,]], [[
"/image-seed",]])

-- lua/mjtask/retry.lua

try("the end of tries", "lua/mjtask/retry.lua", "retry", [[
if not delay or try == last or sent_once or now + delay >= call.deadline then]], [[
if not delay or try == last or sent_once then]])

try("the longest Retry-After", "lua/mjtask/retry.lua", "retry", [[
return asked <= OBEYED and asked or nil]], [[
return asked]])

try("a 429 for all", "lua/mjtask/retry.lua", "retry", [[
return math.max(pace.paused_until, pace.next_turn)]], [[
return -math.huge]])

-- lua/mjtask/straight.lua

try("a straight call in the way of others", "lua/mjtask/straight.lua", "async", [[
if not schedule:is_free() then return nil end]], "")

try("a straight call that is left", "lua/mjtask/straight.lua", "network", [[
    seat.transfer:cancel()
    seat.transfer, schedule.inflight = false, schedule.inflight - 1]], "")

try("a straight call whose client is closed", "lua/mjtask/straight.lua", "schedule", [[
if not ok and not schedule.closed then]], [[
if not ok then]])

try("a straight call and a pause", "lua/mjtask/retry.lua", "retry pace", [[
or turn_of(pace) > call.started or first_of(pace.line) then]], [[
then]])

try("a straight call and its trace", "lua/mjtask/retry.lua", "retry", [[
if settings.trace or client.loop]], [[
if client.loop]])

-- lua/mjtask/poll.lua

try("the key in a trace", "lua/mjtask/poll.lua", "secrets", [[
errors.printable(self.call.client.redact(status))]], [[
errors.printable(status)]])

try("a status in a trace", "lua/mjtask/poll.lua", "secrets", [[
errors.printable(self.call.client.redact(status))]], [[
self.call.client.redact(status)]])

try("five failed looks", "lua/mjtask/poll.lua", "wait", [[
local over = not err.retryable or failures >= FAILURES or]], [[
local over = not err.retryable or]])

try("what is news", "lua/mjtask/poll.lua", "wait", [[
local status, progress = plain(rawget(task, "status")), plain(rawget(task, "progress"))]], [[
local status, progress = task, task]])

try("one hint a second", "lua/mjtask/poll.lua", "hint", [[
return math.max(self.call.schedule.now(), self.looked[place] + HINTED)]], [[
return self.call.schedule.now()]])

try("the last look", "lua/mjtask/poll.lua", "wait watch", [[
if self.overtime[place] or late < LATE then return false end]], [[
if true then return false end]])

try("a step that is a moment late", "lua/mjtask/poll.lua", "wait watch", [[
if self.overtime[place] or late < LATE then return false end]], [[
if self.overtime[place] or due >= self.deadline[place] then return false end]])

-- src/static/open.c

try("the same table each time", "src/static/open.c", "embed", [[
if (lua_getfield(L, 2, MODULE) == LUA_TTABLE) return 1;]], "")

try("what the host has put into preload", "src/static/open.c", "embed", [[
lua_getfield(L, -2, module) == LUA_TNIL]], [[
lua_getfield(L, -2, module) != 99]])

try("a state without require", "src/static/open.c", "embed", [[
lua_getglobal(L, "require") == LUA_TNIL]], [[
lua_getglobal(L, "require") == 99]])

-- lua/mjtask/client.lua, for what body.lua needs

try("a press without lua-cjson", "lua/mjtask/client.lua", "submit", [[
local ok, fault = pcall(body.ready)]], [[
local ok, fault = true]])

-- lua/mjtask/answer.lua

try("a task's own id", "lua/mjtask/answer.lua", "fetch", [[
if own and own ~= id then]], [[
if false then]])

-- lua/mjtask/watch.lua

try("a list's dropped ids", "lua/mjtask/watch.lua", "watch", [[
    if task then
      judge(self, place, task, nil, chance)]], [[
    if task or found then
      judge(self, place, task or {}, nil, chance)]])

try("a place that is not free yet", "lua/mjtask/watch.lua", "watch", [[
if not self.taken[place] then free(self, place) end]], [[
free(self, place)]])

-- lua/mjtask/task.lua

try("the key in half a URL", "lua/mjtask/task.lua", "secrets", [[
return ": " .. errors.printable(redact(text), max_reason)]], [[
return ": " .. errors.printable(text, max_reason)]])

-- lua/mjtask/download.lua

try("the redirects of a picture", "lua/mjtask/download.lua", "download secrets faults handshake", [[
if was_secure and not secure then]], [[
if false then]])

try("the number of redirects", "lua/mjtask/download.lua", "download", [[
for _ = 0, HOPS do]], [[
while true do]])

-- lua/mjtask/errors.lua

try("control characters", "lua/mjtask/errors.lua", "fetch secrets faults", [[
return code < 0x20 or code >= 0x7F]], [[
return code >= 0x7F]])

try("stray bytes in a message", "lua/mjtask/errors.lua", "fuzz_regression", [[
local after = at + (code and #utf8.char(code) or 1)]], [[
local after = code and utf8.offset(text, 2, at) or at + 1]])

-- lua/mjtask/buttons.lua

try("the button that is meant", "lua/mjtask/buttons.lua", "buttons", [[
if #pressable > 1 then]], [[
if false then]])

-- lua/mjtask/cli

try("cli: a press is noted before it is sent", "lua/mjtask/cli/waiting.lua", "cli_wait", [[
press.sent = true -- before it is: whatever happens now, it must not be sent again]], "")

try("cli: a press that may have arrived", "lua/mjtask/cli/waiting.lua", "cli_wait", [[
elseif err and (unsent[err.kind] or not uncertain[err.kind] and not self.given.modal) then]], [[
else]])

try("cli: a press with a window", "lua/mjtask/cli/waiting.lua", "cli_wait", [[
not uncertain[err.kind] and not self.given.modal]], [[
not uncertain[err.kind] ]])

try("cli: what was pressed is known", "lua/mjtask/cli/waiting.lua", "cli_wait", [[
    if press.ids then
      follow(self, press)
    elseif]], [[
    if]])

try("cli: the answer to a press on Ctrl-C", "lua/mjtask/cli/waiting.lua", "cli_wait", [[
while self.pressing > 0 and core.now() < limit do]], [[
while false do]])

try("cli: a state has one owner", "src/host.c", "cli_wait", [[
taken = fcntl(fd, F_SETLK, &lock) != 0;]], [[
taken = 0;]])

try("cli: the lock goes along", "lua/mjtask/cli/state.lua", "cli_wait", [[
  if ok then ok, problem = core.lock(file, path) end]], "")

try("cli: a broken state", "lua/mjtask/cli/state.lua", "cli_wait", [[
if not is_list_of(value.tasks, is_entry) then]], [[
if false then]])

try("cli: fields on a terminal", "lua/mjtask/cli/output.lua", "cli_terminal", [[
errors.visible(tostring(fields[at]))]], [[
tostring(fields[at])]])

try("cli: a status on a terminal", "lua/mjtask/cli/screen.lua", "cli_terminal", [[
errors.visible(text):gsub]], [[
text:gsub]])

try("cli: JSON on a terminal", "lua/mjtask/cli/json.lua", "cli_terminal", [[
return errors.visible((get_encoder().encode(value):gsub("\\/", "/")), escaped)]], [[
return (get_encoder().encode(value):gsub("\\/", "/"))]])

try("cli: a closed stream is held", "lua/mjtask/cli/output.lua", "cli", [[
if code == EBADF then]], [[
if false then]])

try("cli: a picture of another kind", "lua/mjtask/cli/pictures.lua", "cli", [[
local there = not given.force and taken(stem)]], [[
local there = false]])

-- memory that runs out

try("the end of a document", "src/decode.c", "decode", [[
if (p < d.end) p = fail(&d, p, "unexpected data after the document");]], [[
;]])

try("a body that is asked for", "src/engine.c", "submit", [[
json[0].next = &json[1];]], [[
json[0].next = engine->headers.lines;]])

try("a proxy in clear", "src/mjtask.c", "client", [[
if (!engine->base.secure && !field_boolean(L, options, "allow_http"))
    bad_field]], [[
if (0)
    bad_field]])

try("a private address behind a proxy", "src/mjtask.c", "proxied download", [[
if (fault == NULL && image->local && !image->at_home &&
      !engine->allow_private)]], [[
if (0)]])

try("a NUL in a setting", "src/host.c", "client engine", [[
if (text != NULL && strlen(text) != size)]], [[
if (0)]])

try("a NUL in a path", "src/host.c", "engine", [[
luaL_argcheck(L, strlen(path) == size, 1, "has a NUL character");
  lua_settop(L, 1);
  file]], [[
lua_settop(L, 1);
  file]])

try("memory: a URL's port", "src/url.c", "new@oom", [[
if (code == CURLUE_OUT_OF_MEMORY) return url_no_memory;
  /* Only that one: a port]], [[
if (code == CURLUE_OUT_OF_MEMORY) code = CURLUE_NO_PORT;
  /* Only that one: a port]])

try("memory: a channel that opens half", "src/engine.c", "download@oom", [[
if (fault != NULL) close_channel(channel, 0);]], [[
;]])

try("memory: a socket nobody can watch", "src/engine.c", "download-nowhere@oom", [[
    give_up(engine, easy);
  return 0;]], [[
    return -1;
  return 0;]])

try("memory: what is done once", "src/engine.c", "decode@oom", [[
if (watches_forks && !has_libcurl)]], [[
if (!watches_forks)]])

try("memory: a body", "src/transfer.c", "fetch@oom", [[
if (body == NULL) return 0;]], "")

try("memory: a download's name", "src/file.c", "download@oom", [[
if (file->temporary == NULL) return ENOMEM;]], "")

try("memory: the set of sockets", "src/pollset.c", "fetch@oom", [[
if (slots == NULL) return NULL;]], "")

try("memory: lua-cjson's buffer", "lua/mjtask/body.lua", "submit@oom", [[
own.encode_keep_buffer(true)]], [[
own.encode_keep_buffer(false)]])

try("memory: what a dead operation leaves", "lua/mjtask/schedule.lua", "wait@oom", [[
if not ok then coroutine.close(thread) end]], "")

try("memory: the stack of a step", "lua/mjtask/schedule.lua", "watch@oom", [[
  deepen(STEPPING)
  local outer, inside]], [[
  local outer, inside]])

try("memory: the stack of a start", "lua/mjtask/schedule.lua", "fetch@oom fetch-callback@oom", [[
  deepen(ENDING)
  return launch(self, false, conclude, body, ...)]], [[
  return launch(self, false, conclude, body, ...)]])

try("memory: the stack of a watch", "lua/mjtask/watcher.lua", "watch@oom watch-single@oom", [[
  schedule:brace(true) -- for what closes it, too, when a loop is left
]], "")

try("memory: the stack of an end", "lua/mjtask/schedule.lua", "close@oom cancel-callback@oom", [[
  deepen(all and STEPPING or ENDING)]], "")

try("memory: the stack of a delivery", "lua/mjtask/deliveries.lua", "raisers@oom", [[
local ok, err = pcall(self.brace, self) -- again: each error that is caught takes of the stack]], [[
local ok, err = true, nil]])

try("memory: a branch that died", "lua/mjtask/schedule.lua", "fetch-many@oom", [[
if status == "running" or status == "normal" then return end]], [[
if status ~= "suspended" then return end]])

try("memory: who rests", "lua/mjtask/schedule.lua", "fetch-many-callback@oom", [[
timers:set(self, time or math.huge)]], [[
timers:set(self, time)]])

try("memory: an operation that is not begun", "lua/mjtask/schedule.lua", "watch@oom fetch@oom", [[
ended = true, -- until it is counted]], [[
ended = false,]])

try("memory: a callback's last error", "lua/mjtask/calling.lua", "fetch-callback@oom", [[
calling.ended(operation.reason or "aborted", handle.spare)]], [[
calling.ended(operation.reason or "aborted")]])

try("memory: a callback's call", "lua/mjtask/calling.lua", "fetch-callback@oom", [[
schedule:post(delivery, operation)]], [[
schedule:deliver(false, tell, handle)]])

try("memory: a watcher nobody got", "lua/mjtask/watcher.lua", "watch@oom", [[
  local self = setmetatable({ state = state }, mt) -- before there is anything to be closed
  shelter(launch, state)
  return self]], [[
  shelter(launch, state)
  return setmetatable({ state = state }, mt)]])

try("memory: a task half added", "lua/mjtask/watch.lua", "watch-add@oom", [[
self.places[id], self.ids[place], self.taken[place] = nil, before, nil]], [[
local _ = before]])

try("memory: the stack of a close", "lua/mjtask/schedule.lua", "close@oom", [[
  self:brace()
  self.closed = reason]], [[
  self.closed = reason]])

try("memory: a task added too late", "lua/mjtask/watcher.lua", "watch-add-again@oom", [[
if state.operation == last then state.watch:take_back(id) end
]], "")

try("memory: a loop that is left", "lua/mjtask/client.lua", "new-in-loop@oom", [[
  if not made then
    drop(self)]], [[
  if not made then]])

for _, guard in ipairs(guards) do find(table.unpack(guard, 1, guard.n)) end
for _, guard in ipairs(guards) do remove(table.unpack(guard, 1, guard.n)) end
print(("%d guards removed, %d noticed"):format(#guards, #guards - #survivors))
os.exit(#survivors == 0)
