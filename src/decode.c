/* Turns JSON bytes into Lua values in one pass (RFC 8259); knows the Lua API,
   and must not know where the bytes come from. */
#include <float.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && defined(__GNUC__) && !defined(DECODE_PORTABLE)
#include <emmintrin.h>
#define USE_SSE2
#endif

#include "lua.h"

#include "decode.h"

/* Elements that wait on the Lua stack until their array is made, so that it
   gets the right size at once; longer arrays are filled in batches. */
#define BATCH 64

/* Fields that objects get room for. The first on a level: as many as a task
   has, or most things in a task. The next ones: as many as the one before had,
   since objects in a list are alike. */
#define OUTER_HINT 20
#define INNER_HINT 8
#define MAX_HINT 64
#define HINTED_LEVELS 8

/* Significant digits that decide how a double rounds; of those after them it
   only counts whether one is not 0. */
#define MAX_DIGITS 768

#define PLACES 128 /* for the fields of tasks */

#define MIN_SCRATCH 1024 /* bytes */
#define ROW 256 /* bytes of scratch that a row of escapes gets */

typedef unsigned char Byte;

typedef struct Decoder {
  lua_State *L;
  const Byte *end; /* of the document */
  int depth; /* arrays and objects that are open */
  int max_depth; /* as in DecodeOptions */
  int hints[HINTED_LEVELS]; /* fields of the next object, for each level */
  int strict; /* as in DecodeOptions */
  int null_index; /* as in DecodeOptions */
  int fields_index; /* where the table of known fields is on the stack */
  int scratch_index; /* where the scratch userdata lives on the stack */
  Byte *scratch; /* text of the string that is being unescaped */
  size_t capacity; /* bytes of scratch */
  const char *message; /* what is wrong, */
  const Byte *fault; /* and where */
} Decoder;

/* The functions read_* take the place where their value starts, push exactly
   one value, and give the place after it; or NULL after fail. */

/* Notes a fault at `p`. Where the document ends, that is the fault. */
static const Byte *fail (Decoder *d, const Byte *p, const char *message) {
  d->message = p < d->end ? message : "unexpected end of the document";
  d->fault = p;
  return NULL;
}

/* The byte at `p`, or NUL (which is no token) at the end. */
static int peek (const Decoder *d, const Byte *p) {
  return p < d->end ? *p : 0;
}

static const Byte *skip_space (const Decoder *d, const Byte *p) {
  for (; p < d->end && *p <= ' '; p++)
    if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') break;
  return p;
}

/* Strings */

/* Is `c` a byte that ends a run of plain text? */
static int is_special (Byte c) {
  return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

/* Skips plain text, a block at a time. */
static const Byte *skip_plain (const Byte *p, const Byte *end) {
#ifdef USE_SSE2
  for (; end - p >= 16; p += 16) {
    const __m128i block = _mm_loadu_si128((const __m128i *)p);
    const __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    const __m128i slash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    /* signed: controls, and all from 0x80 on */
    const __m128i other = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
    const int mask =
      _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), other));
    if (mask != 0) return p + __builtin_ctz((unsigned)mask);
  }
#endif
  for (; end - p >= 8; p += 8) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t block, quote, slash;
    memcpy(&block, p, sizeof block);
    quote = block ^ ones * '"';
    slash = block ^ ones * '\\';
    /* a byte's top bit gets set if the byte is special, or a neighbour is */
    if ((block | (block - ones * 0x20) | (quote - ones) | (slash - ones)) &
        ones * 0x80)
      break;
  }
  while (p < end && !is_special(*p))
    p++;
  return p;
}

/* Is there a UTF-8 character at `p`, which starts with a byte >= 0x80? Sets
   `length` to its bytes; or, if it is bad, to those that one U+FFFD stands for
   (the "maximal subpart" of the Unicode standard). */
static int check_utf8 (const Byte *p, const Byte *end, int *length) {
  const Byte lead = *p;
  Byte low = 0x80, high = 0xBF; /* range of the second byte */
  int more, i;
  if (lead >= 0xC2 && lead <= 0xDF)
    more = 1;
  else if ((lead & 0xF0) == 0xE0) {
    more = 2;
    if (lead == 0xE0) low = 0xA0; /* else overlong */
    if (lead == 0xED) high = 0x9F; /* else a surrogate */
  }
  else if (lead >= 0xF0 && lead <= 0xF4) {
    more = 3;
    if (lead == 0xF0) low = 0x90; /* else overlong */
    if (lead == 0xF4) high = 0x8F; /* else above U+10FFFF */
  }
  else {
    *length = 1;
    return 0;
  }
  for (i = 1; i <= more; i++) {
    if (p + i >= end || p[i] < low || p[i] > high) break;
    low = 0x80, high = 0xBF;
  }
  *length = i;
  return i > more;
}

/* Skips plain text and good UTF-8. */
static const Byte *skip_text (const Byte *p, const Byte *end) {
  for (;;) {
    p = skip_plain(p, end);
    while (p < end && *p >= 0x80) {
      int length;
      if (!check_utf8(p, end, &length)) return p;
      p += length;
    }
    if (p == end || is_special(*p)) return p;
  }
}

/* The place after the first `used` bytes of the scratch, with room for `more`.
   It grows by a new userdata in the old one's place on the stack: nothing to
   free, whatever fails. */
static Byte *make_room (Decoder *d, size_t used, size_t more) {
  if (d->capacity - used < more) {
    size_t capacity = d->capacity > 0 ? 2 * d->capacity : MIN_SCRATCH;
    Byte *scratch;
    if (capacity - used < more) capacity = used + more;
    scratch = (Byte *)lua_newuserdatauv(d->L, capacity, 0);
    if (used > 0) memcpy(scratch, d->scratch, used);
    lua_replace(d->L, d->scratch_index);
    d->scratch = scratch;
    d->capacity = capacity;
  }
  return d->scratch + used;
}

/* Writes at most 4 bytes. */
static Byte *put_utf8 (Byte *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (Byte)code;
    return out;
  }
  if (code < 0x800)
    *out++ = (Byte)(0xC0 | code >> 6);
  else {
    if (code < 0x10000)
      *out++ = (Byte)(0xE0 | code >> 12);
    else {
      *out++ = (Byte)(0xF0 | code >> 18);
      *out++ = (Byte)(0x80 | (code >> 12 & 0x3F));
    }
    *out++ = (Byte)(0x80 | (code >> 6 & 0x3F));
  }
  *out++ = (Byte)(0x80 | (code & 0x3F));
  return out;
}

/* Values of hexadecimal digits, marked by 0x10. */
static const Byte hex_digits[256] = {
  ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14,
  ['5'] = 0x15, ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19,
  ['A'] = 0x1A, ['B'] = 0x1B, ['C'] = 0x1C, ['D'] = 0x1D, ['E'] = 0x1E,
  ['F'] = 0x1F, ['a'] = 0x1A, ['b'] = 0x1B, ['c'] = 0x1C, ['d'] = 0x1D,
  ['e'] = 0x1E, ['f'] = 0x1F,
};

/* The value of the \uXXXX at `p`, or -1 if there is none. */
static inline int hex_escape (const Byte *p, const Byte *end) {
  int a, b, c, e;
  if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return -1;
  a = hex_digits[p[2]], b = hex_digits[p[3]];
  c = hex_digits[p[4]], e = hex_digits[p[5]];
  if (!(a & b & c & e & 0x10)) return -1;
  return a * 0x1000 + b * 0x100 + c * 0x10 + e - 0x11110; /* less the marks */
}

/* Reads the \uXXXX at `p`, with its other half if it is a surrogate. */
static const Byte *read_hex_escape (Decoder *d, const Byte *p, unsigned *code) {
  const int first = hex_escape(p, d->end);
  if (first < 0) { /* find the culprit */
    for (p += 2; hex_digits[peek(d, p)] != 0;)
      p++;
    return fail(d, p, "hexadecimal digit expected");
  }
  *code = (unsigned)first;
  if (first >= 0xD800 && first <= 0xDFFF) { /* surrogate? */
    const int second = first < 0xDC00 ? hex_escape(p + 6, d->end) : -1;
    if (second >= 0xDC00 && second <= 0xDFFF) {
      *code = 0x10000 + (((unsigned)first & 0x3FF) << 10) +
              ((unsigned)second & 0x3FF);
      return p + 12;
    }
    if (d->strict) return fail(d, p, "lone surrogate");
    *code = 0xFFFD;
  }
  return p + 6;
}

/* Reads the escape at `p`. */
static const Byte *read_escape (Decoder *d, const Byte *p, unsigned *code) {
  switch (peek(d, p + 1)) {
    case 'u': return read_hex_escape(d, p, code);
    case '"': *code = '"'; break;
    case '\\': *code = '\\'; break;
    case '/': *code = '/'; break;
    case 'b': *code = '\b'; break;
    case 'f': *code = '\f'; break;
    case 'n': *code = '\n'; break;
    case 'r': *code = '\r'; break;
    case 't': *code = '\t'; break;
    default: return fail(d, p + 1, "no such escape");
  }
  return p + 2;
}

/* Goes on with a string that is not the same in Lua as in JSON: the text from
   `run` to `p` is, then comes something else. */
static const Byte *unescape (Decoder *d, const Byte *run, const Byte *p) {
  size_t used = 0; /* bytes of scratch that hold text */
  for (;;) {
    const size_t length = (size_t)(p - run);
    Byte *out = make_room(d, used, length + ROW);
    memcpy(out, run, length);
    out += length;
    if (peek(d, p) == '"') {
      lua_pushlstring(d->L, (const char *)d->scratch, used + length);
      return p + 1;
    }
    if (peek(d, p) == '\\') {
      const Byte *const limit = out + ROW - 4;
      do { /* escapes come in rows */
        unsigned code = (unsigned)hex_escape(p, d->end);
        if (code >= 0x800 && code < 0xD800) /* most, where there are many */
          p += 6;
        else
          p = read_escape(d, p, &code);
        if (p == NULL) return NULL;
        out = put_utf8(out, code);
      } while (peek(d, p) == '\\' && out <= limit);
    }
    else {
      int bad;
      if (peek(d, p) < 0x20) /* which includes the end */
        return fail(d, p, "control character in a string");
      check_utf8(p, d->end, &bad);
      if (d->strict) /* cut short, or bad? */
        return fail(d, p + bad == d->end ? d->end : p, "bad UTF-8");
      p += bad;
      out = put_utf8(out, 0xFFFD);
    }
    used = (size_t)(out - d->scratch);
    run = p;
    p = skip_text(p, d->end);
  }
}

static const Byte *read_string (Decoder *d, const Byte *p) {
  const Byte *const text = p + 1;
  p = skip_plain(text, d->end);
  if (peek(d, p) != '"') {
    p = skip_text(p, d->end);
    if (peek(d, p) != '"') return unescape(d, text, p);
  }
  lua_pushlstring(d->L, (const char *)text, (size_t)(p - text));
  return p + 1;
}

/* The fields of tasks. Their strings are kept: Lua need not look for them among
   all it has. No other key is, which may be anybody's secret. */
static const char fields[] =
  "action botType buttons cost customId description discordChannelId "
  "discordInstanceId emoji failReason finalPrompt finalZhPrompt finishTime "
  "flags id imageUrl label messageContent messageHash messageId nonce "
  "notifyHook progress progressMessageId prompt promptEn properties seed "
  "startTime state status style submitTime type url";

/* No two of them have the same; `size` is not 0. */
static lua_Integer place_of (const char *text, size_t size) {
  const Byte *const p = (const Byte *)text;
  const unsigned mix = p[0] + 24u * p[size / 2] + 7u * p[size - 1];
  return 1 + (lua_Integer)((mix ^ size) % PLACES);
}

static const Byte *read_key (Decoder *d, const Byte *p) {
  const char *const text = (const char *)p + 1, *kept;
  const Byte *const end = skip_plain(p + 1, d->end);
  const size_t size = (size_t)(end - (p + 1));
  size_t length;
  if (peek(d, end) != '"' || size == 0) return read_string(d, p);
  lua_rawgeti(d->L, d->fields_index, place_of(text, size));
  kept = lua_tolstring(d->L, -1, &length);
  if (kept == NULL || length != size || memcmp(kept, text, size) != 0) {
    lua_pop(d->L, 1);
    lua_pushlstring(d->L, text, size);
  }
  return end + 1;
}

/* Pushes the table of the fields, by place, which a Lua state has once. */
static void push_fields (lua_State *L) {
  static const char name; /* its address */
  const char *field;
  size_t size;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &name) != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_createtable(L, PLACES, 0);
  for (field = fields; *field != '\0'; field += size + (field[size] == ' ')) {
    size = strcspn(field, " ");
    lua_pushlstring(L, field, size);
    lua_rawseti(L, -2, place_of(field, size));
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &name);
}

/* Numbers */

static int is_digit (int c) {
  return c >= '0' && c <= '9';
}

static const Byte *skip_digits (const Decoder *d, const Byte *p) {
  while (is_digit(peek(d, p)))
    p++;
  return p;
}

/* The decimal exponent from `p` to `end`; far out it is just far out. */
static int64_t parse_exponent (const Byte *p, const Byte *end) {
  const int negative = p < end && *p == '-';
  int64_t value = 0;
  if (p < end && (*p == '-' || *p == '+')) p++;
  for (; p < end; p++)
    if (value < INT64_C(1) << 56) value = value * 10 + (*p - '0');
  return negative ? -value : value;
}

/* Pushes the number from `p` to `end`, whose spelling was checked. The C
   library gets a copy of bounded length and without a decimal point, for which
   it would ask the locale. */
static int push_float (lua_State *L, const Byte *p, const Byte *end) {
  char copy[MAX_DIGITS + 32];
  int n = 0, digits = 0, fraction = 0, lost = 0, i;
  int64_t exponent = 0; /* of the last digit copied */
  lua_Number x;
  if (*p == '-') copy[n++] = (char)*p++;
  for (; p < end && (*p | 0x20) != 'e'; p++) {
    if (*p == '.') {
      fraction = 1;
      continue;
    }
    if (digits < MAX_DIGITS) {
      if (digits > 0 || *p != '0') copy[n++] = (char)*p, digits++;
      exponent -= fraction;
    }
    else {
      lost |= *p != '0';
      exponent += !fraction;
    }
  }
  if (lost) copy[n++] = '1', exponent--;
  if (p < end) exponent += parse_exponent(p + 1, end);
  if (digits == 0) copy[n++] = '0';
  if (exponent > 9999) exponent = 9999;
  if (exponent < -9999) exponent = -9999;
  copy[n++] = 'e';
  if (exponent < 0) copy[n++] = '-', exponent = -exponent;
  for (i = 1000; i > 0; i /= 10)
    copy[n++] = (char)('0' + exponent / i % 10);
  copy[n] = '\0';
  if (lua_stringtonumber(L, copy) == 0) return 0;
  x = lua_tonumber(L, -1);
  return x >= -DBL_MAX && x <= DBL_MAX;
}

/* Goes on with a number that is no integer in Lua: it starts at `start`, and
   its integer part ends at `p`. */
static const Byte *read_float (Decoder *d, const Byte *start, const Byte *p) {
  if (peek(d, p) == '.') {
    if (!is_digit(peek(d, ++p))) return fail(d, p, "digit expected");
    p = skip_digits(d, p);
  }
  if ((peek(d, p) | 0x20) == 'e') {
    p++;
    if (peek(d, p) == '+' || peek(d, p) == '-') p++;
    if (!is_digit(peek(d, p))) return fail(d, p, "digit expected");
    p = skip_digits(d, p);
  }
  if (!push_float(d->L, start, p)) return fail(d, start, "number too large");
  return p;
}

static const Byte *read_number (Decoder *d, const Byte *p) {
  const Byte *const start = p;
  const int negative = *p == '-';
  const uint64_t limit = (uint64_t)LUA_MAXINTEGER + (uint64_t)negative;
  const Byte *const digits = p + negative;
  uint64_t value = 0; /* overflows only after 19 digits */
  if (!is_digit(peek(d, digits))) return fail(d, digits, "digit expected");
  p = digits;
  if (*p == '0')
    p++;
  else
    for (; is_digit(peek(d, p)); p++)
      value = value * 10 + (*p - (unsigned)'0');
  if (p - digits > 19 || value > limit || peek(d, p) == '.' ||
      (peek(d, p) | 0x20) == 'e')
    return read_float(d, start, p);
  /* not -(int64_t)value, which overflows for the lowest integer */
  lua_pushinteger(d->L,
                  negative ? (lua_Integer)(0 - value) : (lua_Integer)value);
  return p;
}

/* Values */

static const Byte *read_value (Decoder *d, const Byte *p);

/* Makes room on the Lua stack. */
static void reserve (lua_State *L, int slots) {
  if (!lua_checkstack(L, slots)) {
    lua_pushliteral(L, "not enough memory");
    lua_error(L);
  }
}

/* Enters the array or object at `p`, for which `slots` of the Lua stack are
   needed; gives the place of its first byte that is no space. */
static const Byte *enter (Decoder *d, const Byte *p, int slots) {
  if (d->depth >= d->max_depth) return fail(d, p, "nested too deep");
  d->depth++;
  reserve(d->L, slots);
  return skip_space(d, p + 1);
}

/* Moves the values above `table` to the end of that array; makes it, if there
   still is a nil in its place. */
static void store_elements (lua_State *L, int table) {
  const int batch = lua_gettop(L) - table;
  const lua_Integer length = (lua_Integer)lua_rawlen(L, table); /* 0 for nil */
  lua_Integer i;
  if (length == 0) {
    lua_createtable(L, batch, 0);
    lua_replace(L, table);
  }
  for (i = length + batch; i > length; i--)
    lua_rawseti(L, table, i);
}

static const Byte *read_array (Decoder *d, const Byte *p) {
  const int table = lua_gettop(d->L) + 1;
  int batch = 0; /* elements above the table */
  p = enter(d, p, BATCH + 4);
  if (p == NULL) return NULL;
  lua_pushnil(d->L); /* the table's place */
  if (peek(d, p) != ']')
    for (;; p = skip_space(d, p + 1)) {
      p = read_value(d, p);
      if (p == NULL) return NULL;
      /* stack: the table or nil, `batch` elements, the new one */
      if (lua_isnil(d->L, -1))
        lua_pop(d->L, 1);
      else if (++batch == BATCH) {
        store_elements(d->L, table);
        batch = 0;
      }
      p = skip_space(d, p);
      if (peek(d, p) == ']') break;
      if (peek(d, p) != ',') return fail(d, p, "',' or ']' expected");
    }
  if (batch > 0 || lua_isnil(d->L, table)) store_elements(d->L, table);
  d->depth--;
  return p + 1;
}

static const Byte *read_object (Decoder *d, const Byte *p) {
  const int level = d->depth < HINTED_LEVELS ? d->depth : HINTED_LEVELS - 1;
  p = enter(d, p, 5);
  if (p == NULL) return NULL;
  lua_createtable(d->L, 0, peek(d, p) == '}' ? 0 : d->hints[level]);
  if (peek(d, p) != '}') {
    int size = 0;
    for (;; p = skip_space(d, p + 1)) {
      if (peek(d, p) != '"') return fail(d, p, "key expected");
      p = read_key(d, p);
      if (p == NULL) return NULL;
      p = skip_space(d, p);
      if (peek(d, p) != ':') return fail(d, p, "':' expected");
      p = read_value(d, skip_space(d, p + 1));
      if (p == NULL) return NULL;
      /* stack: table, key, value; a nil takes an earlier value away */
      lua_rawset(d->L, -3);
      if (size < MAX_HINT) size++;
      p = skip_space(d, p);
      if (peek(d, p) == '}') break;
      if (peek(d, p) != ',') return fail(d, p, "',' or '}' expected");
    }
    d->hints[level] = size;
  }
  d->depth--;
  return p + 1;
}

/* Skips the rest of a word whose first letter was seen. */
static const Byte *skip_word (Decoder *d, const Byte *p, const char *word) {
  for (; *word != '\0'; p++, word++)
    if (peek(d, p) != *word) return fail(d, p, "value expected");
  return p;
}

static const Byte *read_value (Decoder *d, const Byte *p) {
  const int c = peek(d, p);
  switch (c) {
    case '"': return read_string(d, p);
    case '{': return read_object(d, p);
    case '[': return read_array(d, p);
    case 't': lua_pushboolean(d->L, 1); return skip_word(d, p, "true");
    case 'f': lua_pushboolean(d->L, 0); return skip_word(d, p, "false");
    case 'n':
      if (d->null_index != 0)
        lua_pushvalue(d->L, d->null_index);
      else
        lua_pushnil(d->L);
      return skip_word(d, p, "null");
    default:
      if (c == '-' || is_digit(c)) return read_number(d, p);
      return fail(d, p, "value expected");
  }
}

int decode (lua_State *L, const char *text, size_t size,
            const DecodeOptions *options, DecodeError *error) {
  const Byte *const start = (const Byte *)(text != NULL ? text : "");
  const Byte *p = start;
  const int top = lua_gettop(L);
  Decoder d = {0};
  int i;
  if (size > options->max_size) {
    error->message = "document too large";
    error->offset = options->max_size;
    return 0;
  }
  d.L = L;
  d.end = start + size;
  d.max_depth = options->max_depth < DECODE_DEPTH_CEILING
                  ? options->max_depth
                  : DECODE_DEPTH_CEILING;
  d.hints[0] = OUTER_HINT;
  for (i = 1; i < HINTED_LEVELS; i++)
    d.hints[i] = INNER_HINT;
  d.strict = options->strict;
  d.null_index = options->null_index;
  d.scratch_index = top + 1;
  d.fields_index = top + 2;
  reserve(L, 6);
  lua_pushnil(L); /* the scratch's place */
  push_fields(L);
  if (size >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) p += 3; /* BOM? */
  p = read_value(&d, skip_space(&d, p));
  if (p != NULL) {
    p = skip_space(&d, p);
    if (p < d.end) p = fail(&d, p, "unexpected data after the document");
  }
  if (p == NULL) {
    lua_settop(L, top);
    error->message = d.message;
    error->offset = (size_t)(d.fault - start);
    return 0;
  }
  lua_replace(L, d.scratch_index);
  lua_settop(L, d.scratch_index);
  return 1;
}
