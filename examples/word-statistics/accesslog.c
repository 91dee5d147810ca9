#include "accesslog.h"

#include <string.h>

enum { MINUTE_LENGTH = sizeof "20/Nov/2026:10:56" - 1, MOST_DIGITS = 18 };

struct cursor {
    const unsigned char *next, *end;
};

/* Take up to `stop`, which is passed over. */
static bool take(struct cursor *cursor, unsigned char stop, struct field *field) {
    const unsigned char *found = memchr(cursor->next, stop, (size_t)(cursor->end - cursor->next));
    if (found == NULL) {
        return false;
    }
    *field = (struct field){cursor->next, (size_t)(found - cursor->next)};
    cursor->next = found + 1;
    return true;
}

static bool expect(struct cursor *cursor, const char *text) {
    size_t length = strlen(text);
    if ((size_t)(cursor->end - cursor->next) < length || memcmp(cursor->next, text, length) != 0) {
        return false;
    }
    cursor->next += length;
    return true;
}

/* Take a quoted field. Apache writes a quote inside it as \". */
static bool take_quoted(struct cursor *cursor, struct field *field) {
    if (!expect(cursor, "\"")) {
        return false;
    }
    const unsigned char *start = cursor->next;
    while (cursor->next < cursor->end && *cursor->next != '"') {
        cursor->next += *cursor->next == '\\' && cursor->next + 1 < cursor->end ? 2 : 1;
    }
    *field = (struct field){start, (size_t)(cursor->next - start)};
    return expect(cursor, "\"");
}

static bool number(struct field field, uint64_t *value) {
    if (field.length == 0 || field.length > MOST_DIGITS) {
        return false;
    }
    *value = 0;
    for (size_t i = 0; i < field.length; i++) {
        if (field.text[i] < '0' || field.text[i] > '9') {
            return false;
        }
        *value = *value * 10 + (field.text[i] - '0');
    }
    return true;
}

bool request_parse(const unsigned char *line, size_t length, struct request *request) {
    struct cursor cursor = {line, line + length};
    struct field ignored, time, words, status, bytes, method, microseconds;
    if (!take(&cursor, ' ', &request->client) || !take(&cursor, ' ', &ignored) || !take(&cursor, ' ', &ignored) ||
        !expect(&cursor, "[") || !take(&cursor, ']', &time) || time.length < MINUTE_LENGTH || !expect(&cursor, " ") ||
        !take_quoted(&cursor, &words) || !expect(&cursor, " ") || !take(&cursor, ' ', &status) ||
        !take(&cursor, ' ', &bytes) || !take_quoted(&cursor, &ignored) || !expect(&cursor, " ") ||
        !take_quoted(&cursor, &request->agent)) {
        return false;
    }
    request->minute = (struct field){time.text, MINUTE_LENGTH};

    struct cursor inner = {words.text, words.text + words.length};
    if (!take(&inner, ' ', &method) || !take(&inner, ' ', &request->path)) {
        return false;
    }
    uint64_t code;
    if (status.length != 3 || !number(status, &code) || code < 100 || code > 599) {
        return false;
    }
    request->status = (unsigned)code;
    request->bytes = 0;
    if (!(bytes.length == 1 && bytes.text[0] == '-') && !number(bytes, &request->bytes)) {
        return false;
    }
    request->timed = cursor.next < cursor.end;
    if (!request->timed) {
        return true;
    }
    microseconds = (struct field){cursor.next + 1, (size_t)(cursor.end - cursor.next - 1)};
    return *cursor.next == ' ' && number(microseconds, &request->microseconds);
}
