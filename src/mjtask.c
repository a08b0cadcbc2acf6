/* The Lua face of the core: arguments, userdata, results. The only room that
   knows both Lua and curl; what they do is in the rooms it calls. */
#define _GNU_SOURCE /* for dladdr under -std=c99 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <dlfcn.h>

#include "lua.h"
#include "lauxlib.h"

#include "decode.h"
#include "engine.h"
#include "host.h"

#define ENGINE "mjtask.engine"
#define TRANSFER "mjtask.transfer"

/* user values of an engine */
#define LIVE 1 /* transfers that libcurl or nobody holds: address -> userdata */
#define STRINGS 2 /* what its profile points to */

/* user values of a transfer */
#define WAITER 1
#define BODY 2 /* the request's, which libcurl reads where it lies */
#define HOME 3 /* its engine's LIVE */
#define TARGET 4 /* the file it writes */

#define EXCERPT 512 /* bytes given of a body that is no JSON; fewer are shown */

/* Both functions are extern in Lua's headers, and all else is hidden. */
#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

/* ---- transfers ----------------------------------------------------------------- */

static Transfer *new_transfer (lua_State *L) {
  Transfer *transfer = lua_newuserdatauv(L, sizeof *transfer, 4);
  memset(transfer, 0, sizeof *transfer);
  luaL_setmetatable(L, TRANSFER);
  return transfer;
}

/* cancel (): it will not be handed out any more; a finished one stays as it is */
static int transfer_cancel (lua_State *L) {
  Transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  lua_settop(L, 1);
  engine_cancel(transfer);
  if (lua_getiuservalue(L, 1, HOME) == LUA_TTABLE) {
    lua_pushnil(L);
    lua_rawsetp(L, -2, transfer);
  }
  lua_pushnil(L);
  lua_setiuservalue(L, 1, WAITER);
  return 0;
}

static int transfer_gc (lua_State *L) {
  Transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  engine_cancel(transfer);
  transfer_release(transfer);
  return 0;
}

static void set_text (lua_State *L, const char *name, const char *text,
                      size_t size) {
  lua_pushlstring(L, text, size);
  lua_setfield(L, -2, name);
}

static void set_string (lua_State *L, const char *name, const char *text) {
  set_text(L, name, text, strlen(text));
}

/* received () --> bytes of a download so far, and in all if that is known */
static int transfer_received (lua_State *L) {
  Transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  lua_pushinteger(L, (lua_Integer)transfer->received);
  if (transfer->expected <= 0) return 1;
  lua_pushinteger(L, (lua_Integer)transfer->expected);
  return 2;
}

/* Pushes the table of what there is to know beside the decoded value. */
static void push_facts (lua_State *L, const Transfer *transfer) {
  const char *kind = transfer_kind(transfer);
  lua_createtable(L, 0, 8);
  if (kind != NULL) {
    set_string(L, "kind", kind);
    set_string(L, "message", transfer_message(transfer));
    set_boolean(L, -1, "refused",
                transfer->refused != REFUSED_NOT &&
                  transfer->refused != REFUSED_MEMORY);
  }
  if (transfer->status != 0) {
    lua_pushinteger(L, transfer->status);
    lua_setfield(L, -2, "status");
  }
  lua_pushinteger(L, transfer->sent);
  lua_setfield(L, -2, "sent");
  if (transfer->retry_after > 0) {
    lua_pushnumber(L, transfer->retry_after);
    lua_setfield(L, -2, "retry_after");
  }
  if (transfer->type[0] != '\0') set_string(L, "type", transfer->type);
}

/* The beginning of a body that is no JSON. It may be cut in the key, which only
   an ellipsis gives away (headers_redact). */
static void push_excerpt (lua_State *L, const char *body, size_t size) {
  lua_pushlstring(L, body, size < EXCERPT ? size : EXCERPT);
  if (size <= EXCERPT) return;
  lua_pushliteral(L, "\xE2\x80\xA6");
  lua_concat(L, 2);
}

/* stack: …, facts; adds what there is instead of a value. */
static void note_rest (lua_State *L, const Transfer *transfer,
                       const DecodeError *error) {
  const char *body = transfer->body;
  const size_t size = body != NULL ? transfer->size : 0;
  size_t blank = 0;
  if (transfer->code != CURLE_OK) return;
  if (transfer->moved) {
    set_text(L, "location", body, size);
    return;
  }
  while (blank < size && (body[blank] == ' ' || body[blank] == '\t' ||
                          body[blank] == '\r' || body[blank] == '\n'))
    blank++;
  if (blank == size) {
    set_boolean(L, -1, "empty", 1);
    return;
  }
  lua_pushfstring(L, "%s at byte %I", error->message,
                  (LUAI_UACINT)error->offset);
  lua_setfield(L, -2, "fault");
  push_excerpt(L, body, size);
  lua_setfield(L, -2, "excerpt");
}

/* Pushes the value of a JSON body and returns 1; or pushes nothing. Nothing
   frees the body meanwhile: only __gc does, and who asked for it first, which is
   us; and the transfer is on the stack. */
static int decode_body (lua_State *L, const Transfer *transfer,
                        DecodeError *error) {
  const DecodeOptions options = {SIZE_MAX, DECODE_MAX_DEPTH, 0, 0};
  if (transfer->code != CURLE_OK || transfer->moved) return 0;
  return decode(L, transfer->body != NULL ? transfer->body : "", transfer->size,
                &options, error);
}

/* answer () --> value, facts
   The body as decoded JSON, or nil; and facts, nil for a JSON body with 200:
   { kind, message, refused: of a failure below HTTP, by ourselves, and so it
   would be again; status;
   sent: bytes of the request; retry_after: seconds; type; location: where a
   redirect leads; and where the body is no JSON: empty = true, or fault,
   excerpt }. Can be had once: the body goes. */
static int transfer_answer (lua_State *L) {
  DecodeError error = {"", 0};
  Transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  const int first = transfer->state == TRANSFER_TAKEN;
  luaL_argcheck(L, first || transfer->state == TRANSFER_READ, 1,
                "not handed out");
  lua_settop(L, 1);
  transfer->state = TRANSFER_READ;
  if (first && decode_body(L, transfer, &error)) {
    if (transfer->status == 200 && !lua_isnil(L, 2))
      lua_pushnil(L);
    else
      push_facts(L, transfer);
  }
  else {
    lua_pushnil(L);
    push_facts(L, transfer);
    if (first)
      note_rest(L, transfer, &error);
    else
      set_boolean(L, -1, "empty", 1);
  }
  if (first) transfer_release(transfer);
  return 2;
}

/* kept () --> did it go over a connection that had been used before? */
static int transfer_kept (lua_State *L) {
  const Transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  luaL_argcheck(L, transfer->state >= TRANSFER_TAKEN, 1, "not handed out");
  lua_pushboolean(L, transfer->connections == 0);
  return 1;
}

/* ---- the engine: configuration ----------------------------------------------------- */

static const struct {
  const char *name;
  unsigned lines;
} schemes[] = {
  {"bearer", HEADERS_BEARER},
  {"raw", HEADERS_RAW},
  {"mj-api-secret", HEADERS_SECRET},
  {"auto", HEADERS_RAW | HEADERS_SECRET}, /* not where only Bearer is taken */
  {"none", 0},
};

static unsigned check_scheme (lua_State *L, const char *name) {
  size_t i;
  for (i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
    if (strcmp(name, schemes[i].name) == 0) return schemes[i].lines;
  }
  bad_field(L, "auth",
            "must be \"bearer\", \"raw\", \"mj-api-secret\", \"auto\" or "
            "\"none\"");
  return 0;
}

static void check_url (lua_State *L, int options, UrlBase *base) {
  size_t size = 0;
  const char *url = field_string(L, options, "url", &size);
  const char *fault = url != NULL ? url_base(url, size, base) : "is missing";
  if (fault == NULL && !base->secure && !base->loopback &&
      !field_boolean(L, options, "allow_http"))
    fault = "is plain http, which shows the key to the network: use https, or "
            "allow_http = true";
  if (fault != NULL) bad_field(L, "url", fault);
  lua_pop(L, 1);
}

/* The string stays where the profile points: in the table on top. */
static const char *keep_cstring (lua_State *L, int options, const char *name) {
  const char *text = field_cstring(L, options, name);
  lua_setfield(L, -2, name);
  return text;
}

static void check_visible (lua_State *L, const char *name, const char *text) {
  for (; text != NULL && *text != '\0'; text++) {
    if (*text < ' ' || *text > '~')
      bad_field(L, name, "has a control character or one beyond ASCII");
  }
}

static void take_strings (lua_State *L, int options, Engine *engine) {
  Profile *profile = &engine->channels[CHANNEL_API].profile;
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, STRINGS);
  profile->user_agent = keep_cstring(L, options, "user_agent");
  profile->proxy = keep_cstring(L, options, "proxy");
  profile->cafile = keep_cstring(L, options, "cafile");
  lua_pop(L, 1);
  check_visible(L, "user_agent", profile->user_agent);
  check_visible(L, "proxy", profile->proxy);
}

static void take_key (lua_State *L, int options, Engine *engine) {
  size_t size = 0;
  const char *scheme = field_cstring(L, options, "auth");
  unsigned lines = check_scheme(L, scheme != NULL ? scheme : "none");
  const char *key = field_string(L, options, "key", &size);
  if (lines != 0) {
    const char *fault =
      key != NULL ? headers_authorize(&engine->headers, lines, key, size)
                  : "is missing";
    if (fault != NULL) bad_field(L, "key", fault);
  }
  lua_pop(L, 2);
}

static void take_headers (lua_State *L, int options, Engine *engine) {
  if (lua_getfield(L, options, "headers") == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  if (!lua_istable(L, -1)) bad_field(L, "headers", "must be a table");
  lua_pushnil(L);
  while (lua_next(L, -2) != 0) {
    size_t name_size, size;
    const char *name, *value, *fault;
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
      bad_field(L, "headers", "must map names to values, both strings");
    name = lua_tolstring(L, -2, &name_size);
    value = lua_tolstring(L, -1, &size);
    fault = headers_add(&engine->headers, name, name_size, value, size);
    if (fault != NULL) bad_field(L, "headers: a value or name", fault);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void check_proxy (lua_State *L, int options, const Engine *engine) {
  const char *proxy = engine->channels[CHANNEL_API].profile.proxy;
  const char *fault;
  if (proxy == NULL || proxy[0] == '\0') return;
  fault = url_proxy(proxy);
  if (fault != NULL) bad_field(L, "proxy", fault);
  if (!engine->base.secure && !field_boolean(L, options, "allow_http"))
    bad_field(L, "proxy", "would be shown the key: the url is plain http");
}

/* engine { url, auth, key, headers, user_agent, proxy, cafile, allow_http,
            allow_private, max_inflight } --> engine, or nil, what failed; raises for bad
   configuration, naming the field */
static int core_engine (lua_State *L) {
  Engine *engine;
  const char *fault;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  engine = lua_newuserdatauv(L, sizeof *engine, 2);
  memset(engine, 0, sizeof *engine);
  luaL_setmetatable(L, ENGINE);
  lua_newtable(L);
  lua_setiuservalue(L, 2, LIVE);
  check_url(L, 1, &engine->base);
  engine->window = (long)field_number(L, 1, "max_inflight", 16, 1);
  engine->allow_private = field_boolean(L, 1, "allow_private");
  take_strings(L, 1, engine);
  fault = engine_open(engine);
  if (fault != NULL) {
    lua_pushnil(L);
    lua_pushstring(L, fault);
    return 2;
  }
  take_key(L, 1, engine);
  take_headers(L, 1, engine);
  fault = headers_complete(&engine->headers);
  if (fault != NULL) return luaL_error(L, "headers %s", fault);
  check_proxy(L, 1, engine);
  return 1;
}

/* ---- the engine: methods --------------------------------------------------------------- */

static Engine *check_engine (lua_State *L) {
  Engine *engine = luaL_checkudata(L, 1, ENGINE);
  if (engine_is_forked(engine))
    luaL_error(L, "this client belongs to the process before the fork: "
                  "make a new one in the child");
  if (!engine_is_open(engine)) luaL_error(L, "the client is closed");
  return engine;
}

/* The URL of an API request, or of an image. */
static void check_target (lua_State *L, const Engine *engine, Request *request,
                          char *url) {
  size_t size = 0;
  const char *path = field_string(L, 2, "path", &size);
  if (path == NULL || !url_join(&engine->base, path, size, url))
    bad_field(L, "path", "is no path");
  request->url = url;
  lua_pop(L, 1);
}

static const char private_address[] =
  "leads to a private address: allow_private = true would allow it";

static const char *check_image (lua_State *L, const Engine *engine, int index,
                                UrlImage *image) {
  size_t size;
  const char *url = luaL_checklstring(L, index, &size);
  const char *fault = url_image(&engine->base, url, size, image);
  if (fault == NULL && image->local && !image->at_home &&
      !engine->allow_private)
    fault = private_address;
  return fault;
}

/* Fills the request from the table at 2; the body stays on the stack. */
static void check_request (lua_State *L, Request *request) {
  request->timeout =
    (long)fmin(ceil(field_number(L, 2, "timeout", 30, 0) * 1000), 1e9);
  if (request->timeout < 1) request->timeout = 1; /* 0 would mean for ever */
  request->max_body =
    (size_t)field_number(L, 2, "max_body", (lua_Number)DECODE_MAX_SIZE, 1);
  request->fresh = field_boolean(L, 2, "fresh");
  request->once = field_boolean(L, 2, "once");
  request->body = field_string(L, 2, "body", &request->body_size);
}

/* Starts it, and gives the transfer that anchors all it needs.
   stack: engine, table, waiter, file or nil, body or nil */
static int start (lua_State *L, Engine *engine, const Request *request) {
  Transfer *transfer = new_transfer(L);
  /* closed by a finalizer just now? From here on nothing runs one. */
  if (!engine_is_open(engine)) return luaL_error(L, "the client is closed");
  lua_insert(L, 4); /* stack: engine, table, waiter, transfer, file, body */
  lua_setiuservalue(L, 4, BODY);
  lua_setiuservalue(L, 4, TARGET);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, WAITER);
  lua_getiuservalue(L, 1, LIVE);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 4, HOME);
  lua_pushvalue(L, 4);
  lua_rawsetp(L, -2, transfer);
  engine_start(engine, transfer, request);
  lua_settop(L, 4);
  return 1;
}

/* start ({ path, body, timeout: seconds, max_body: bytes, fresh, once }, waiter)
   --> transfer; `next` hands both out when it has ended. A body makes it a POST */
static int engine_start_request (lua_State *L) {
  Engine *engine = check_engine(L);
  char url[URL_JOINED];
  Request request = {0};
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkany(L, 3);
  lua_settop(L, 4);
  check_target(L, engine, &request, url);
  check_request(L, &request);
  return start(L, engine, &request);
}

/* download ({ url, file, timeout, max_body, fresh }, waiter) --> transfer */
static int engine_start_download (lua_State *L) {
  Engine *engine = check_engine(L);
  UrlImage image;
  Request request = {0};
  const char *fault;
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  lua_getfield(L, 2, "file");
  request.file = check_file(L, 4);
  lua_getfield(L, 2, "url");
  fault = check_image(L, engine, 5, &image);
  if (fault != NULL) return bad_field(L, "url", fault);
  lua_settop(L, 4);
  check_request(L, &request);
  request.body = NULL;
  request.url = image.text;
  request.guarded = !engine->allow_private && !image.at_home;
  return start(L, engine, &request);
}

/* image (url) --> true, is it https; or nil, kind, message: why it cannot be
   fetched */
static int engine_image (lua_State *L) {
  Engine *engine = check_engine(L);
  UrlImage image;
  const char *fault = check_image(L, engine, 2, &image);
  if (fault == NULL) {
    lua_pushboolean(L, 1);
    lua_pushboolean(L, image.secure);
    return 2;
  }
  return push_failure(L,
                      fault == private_address ? "connect"
                      : fault == url_no_memory ? "http"
                                               : "no_image",
                      fault);
}

static int is_hurried (void *main) {
  return is_interrupted(main);
}

/* step ([seconds]) --> did it end early, perhaps by a signal? Moves bytes, at
   most so long; without a number until something happens */
static int engine_step_once (lua_State *L) {
  Engine *engine = check_engine(L);
  lua_Number seconds = luaL_optnumber(L, 2, -1);
  luaL_argcheck(L, seconds == seconds, 2, "not a number of seconds");
  lua_pushboolean(L, engine_step(engine, seconds, is_hurried, main_of(L)));
  return 1;
}

/* next () --> waiter, transfer: one that has ended; nothing if there is none */
static int engine_next_transfer (lua_State *L) {
  Engine *engine = check_engine(L);
  Transfer *transfer = engine_next(engine);
  lua_settop(L, 1);
  if (transfer == NULL) return 0;
  lua_getiuservalue(L, 1, LIVE);
  lua_rawgetp(L, 2, transfer);
  lua_getiuservalue(L, 3, WAITER);
  /* stack: engine, LIVE, transfer, waiter; Lua holds it: C lets go */
  engine_take(transfer);
  lua_pushnil(L);
  lua_rawsetp(L, 2, transfer);
  /* What is collected with a finalizer takes with it all that it knows, one
     round of the collector later. */
  lua_pushnil(L);
  lua_setiuservalue(L, 3, WAITER);
  lua_insert(L, 3);
  return 2;
}

/* wake_at (when): ends a step's wait at that time of now (), nil: no time */
static int engine_wake (lua_State *L) {
  Engine *engine = check_engine(L);
  engine_wake_at(engine, luaL_optnumber(L, 2, HUGE_VAL));
  return 0;
}

/* pollfd () --> descriptor that is readable when step has work, nil: none here */
static int engine_pollfd (lua_State *L) {
  int fd = engine_fd(check_engine(L));
  if (fd < 0) return 0;
  lua_pushinteger(L, fd);
  return 1;
}

static int engine_release (lua_State *L) {
  Engine *engine = luaL_checkudata(L, 1, ENGINE);
  engine_close(engine);
  lua_settop(L, 1);
  lua_pushnil(L); /* who waited for a transfer may be collected now */
  lua_setiuservalue(L, 1, LIVE);
  return 0;
}

static int engine_tostring (lua_State *L) {
  Engine *engine = luaL_checkudata(L, 1, ENGINE);
  lua_pushfstring(L, "%s(%s)", ENGINE, engine->base.text);
  return 1;
}

/* redact (text) --> the text without the key, should it be in there */
static int engine_redacted (lua_State *L) {
  Engine *engine = luaL_checkudata(L, 1, ENGINE);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  luaL_Buffer copy;
  char *out = luaL_buffinitsize(L, &copy, size);
  memcpy(out, text, size);
  headers_redact(&engine->headers, out, size);
  luaL_pushresultsize(&copy, size);
  return 1;
}

/* base () --> the base URL as it is used */
static int engine_base (lua_State *L) {
  Engine *engine = luaL_checkudata(L, 1, ENGINE);
  lua_pushstring(L, engine->base.text);
  return 1;
}

/* ---- registration ---------------------------------------------------------- */

static const luaL_Reg transfer_methods[] = {
  {"answer", transfer_answer},
  {"kept", transfer_kept},
  {"cancel", transfer_cancel},
  {"received", transfer_received},
  {NULL, NULL},
};

static const luaL_Reg transfer_meta[] = {
  {"__gc", transfer_gc},
  {NULL, NULL},
};

static const luaL_Reg engine_methods[] = {
  {"base", engine_base},
  {"close", engine_release},
  {"download", engine_start_download},
  {"image", engine_image},
  {"next", engine_next_transfer},
  {"pollfd", engine_pollfd},
  {"redact", engine_redacted},
  {"start", engine_start_request},
  {"step", engine_step_once},
  {"wake_at", engine_wake},
  {NULL, NULL},
};

static const luaL_Reg engine_meta[] = {
  {"__close", engine_release},
  {"__gc", engine_release},
  {"__tostring", engine_tostring},
  {NULL, NULL},
};

static const luaL_Reg core[] = {
  {"engine", core_engine},
  {NULL, NULL},
};

/* libcurl's resolver threads may outlive lua_close, which unmaps this module,
   and libcurl with it, under their feet. In a static host there is nothing to
   unmap, and a failure means nothing. */
static void stay_mapped (void) {
  Dl_info info;
  if (dladdr((const void *)core, &info) != 0 && info.dli_fname != NULL)
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

EXPORT int luaopen_mjtask_core (lua_State *L);

int luaopen_mjtask_core (lua_State *L) {
  const char *fault;
  luaL_checkversion(L);
  stay_mapped();
  fault = engine_global();
  if (fault != NULL) return luaL_error(L, "%s", fault);
  make_type(L, TRANSFER, transfer_meta, transfer_methods);
  make_type(L, ENGINE, engine_meta, engine_methods);
  luaL_newlib(L, core);
  host_open(L);
  return 1;
}
