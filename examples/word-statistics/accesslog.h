/* One line of a web server's log in Apache's "combined" format, with or without a last field in microseconds (%D). */
#ifndef ACCESSLOG_H
#define ACCESSLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
    const unsigned char *text;
    size_t length;
};

struct request {
    struct field client, path, agent;
    struct field minute; /* 20/Nov/2026:10:56 */
    unsigned status;     /* 100..599 */
    uint64_t bytes;      /* 0 where the log says "-" */
    bool timed;
    uint64_t microseconds;
};

/* Read `length` bytes of a line without its newline. False if it isn't of this format. */
bool request_parse(const unsigned char *line, size_t length, struct request *request);

#endif
