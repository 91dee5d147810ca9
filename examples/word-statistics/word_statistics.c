/* Statistics over a text on standard input: `word_statistics [--top N] [--log]`.
 *
 * Prints lines, words, most frequent words and percentiles of word lengths; with --log also status codes, bytes,
 * durations, clients, paths, agents and minutes of a web server's log (accesslog.h). Fields are separated by tabs. A
 * percentile p is the smallest value that is at least as large as p % of all values (nearest rank). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accesslog.h"
#include "words.h"

enum { READ_STEP = 1 << 16, DEFAULT_TOP = 20, MOST_TOP = 100000 };

struct numbers { /* values for percentiles */
    uint64_t *values;
    size_t count, capacity;
    uint64_t sum;
};

static void *resize(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void numbers_add(struct numbers *numbers, uint64_t value) {
    if (numbers->count == numbers->capacity) {
        numbers->capacity = numbers->capacity ? numbers->capacity * 2 : 1024;
        numbers->values = resize(numbers->values, numbers->capacity * sizeof *numbers->values);
    }
    numbers->values[numbers->count++] = value;
    numbers->sum += value;
}

static int compare_numbers(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void print_percentiles(const char *name, struct numbers *numbers) {
    static const unsigned percents[] = {1, 25, 50, 75, 90, 95, 99, 100};
    printf("\n# %s: percentiles\n", name);
    if (numbers->count == 0) {
        return;
    }
    qsort(numbers->values, numbers->count, sizeof *numbers->values, compare_numbers);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        uint64_t rank = ((uint64_t)numbers->count * percents[i] + 99) / 100;
        printf("p%u\t%llu\n", percents[i], (unsigned long long)numbers->values[rank - 1]);
    }
    printf("sum\t%llu\n", (unsigned long long)numbers->sum);
}

static void print_top(const char *name, const struct words *words, size_t top) {
    struct word *sorted = words_sorted(words);
    printf("\n# %s: %zu distinct\n", name, words->used);
    for (size_t i = 0; i < words->used && i < top; i++) {
        printf("%llu\t", (unsigned long long)sorted[i].count);
        fwrite(sorted[i].text, 1, sorted[i].length, stdout);
        putchar('\n');
    }
    free(sorted);
}

static unsigned char *read_all(size_t *length) {
    unsigned char *text = NULL;
    size_t used = 0, capacity = 0, got;
    do {
        if (capacity - used < READ_STEP) {
            capacity = capacity ? capacity * 2 : 2 * READ_STEP;
            text = resize(text, capacity);
        }
        got = fread(text + used, 1, READ_STEP, stdin);
        used += got;
    } while (got > 0);
    *length = used;
    return text;
}

static void print_log_statistics(const unsigned char *text, size_t length, size_t top) {
    static uint64_t statuses[600];
    struct words clients = {0}, paths = {0}, agents = {0}, minutes = {0};
    struct numbers bytes = {0}, durations = {0};
    uint64_t requests = 0, malformed = 0;
    for (const unsigned char *line = text, *end = text + length; line < end;) {
        const unsigned char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop == NULL ? end : stop;
        struct request request;
        if (request_parse(line, (size_t)(stop - line), &request)) {
            requests++;
            statuses[request.status]++;
            words_add(&clients, request.client.text, request.client.length);
            words_add(&paths, request.path.text, request.path.length);
            words_add(&agents, request.agent.text, request.agent.length);
            words_add(&minutes, request.minute.text, request.minute.length);
            numbers_add(&bytes, request.bytes);
            if (request.timed) {
                numbers_add(&durations, request.microseconds);
            }
        } else {
            malformed++;
        }
        line = stop + 1;
    }
    printf("\n# log\nrequests\t%llu\nmalformed\t%llu\n", (unsigned long long)requests, (unsigned long long)malformed);
    printf("\n# status codes\n");
    for (unsigned status = 0; status < 600; status++) {
        if (statuses[status] > 0) {
            printf("%u\t%llu\n", status, (unsigned long long)statuses[status]);
        }
    }
    print_percentiles("bytes sent", &bytes);
    print_percentiles("microseconds", &durations);
    print_top("clients", &clients, top);
    print_top("paths", &paths, top);
    print_top("agents", &agents, top);
    print_top("minutes", &minutes, top);
}

static void print_text_statistics(unsigned char *text, size_t length, size_t top) {
    struct words words = {0};
    struct numbers lengths = {0};
    uint64_t lines = 0, longest = 0, line = 0;
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        unsigned char byte = i < length ? text[i] : ' ';
        unsigned char lower = byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
        bool in_word = (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || byte >= 0x80;
        if (i < length) {
            text[i] = lower;
            lines += byte == '\n';
            line = byte == '\n' ? 0 : line + 1;
            longest = line > longest ? line : longest;
        }
        if (!in_word) {
            if (i > start) {
                words_add(&words, text + start, i - start);
                numbers_add(&lengths, i - start);
            }
            start = i + 1;
        }
    }
    printf("# text\nbytes\t%zu\nlines\t%llu\nlongest line\t%llu\nwords\t%zu\n", length, (unsigned long long)lines,
           (unsigned long long)longest, lengths.count);
    print_percentiles("word length", &lengths);
    print_top("words", &words, top);
}

int main(int argc, char **argv) {
    size_t top = DEFAULT_TOP;
    bool log = false;
    for (int i = 1; i < argc; i++) {
        char *rest = "";
        if (strcmp(argv[i], "--log") == 0) {
            log = true;
        } else if (strcmp(argv[i], "--top") == 0 && i + 1 < argc) {
            top = strtoul(argv[++i], &rest, 10);
        } else {
            rest = "?";
        }
        if (*rest != '\0' || top > MOST_TOP) {
            fprintf(stderr, "usage: word_statistics [--top N] [--log] < text, N at most %d\n", MOST_TOP);
            return 2;
        }
    }
    size_t length;
    unsigned char *text = read_all(&length);
    if (log) { /* counting words puts its text into lower case, so it gets a copy */
        unsigned char *copy = resize(NULL, length ? length : 1);
        memcpy(copy, text, length);
        print_text_statistics(copy, length, top);
        print_log_statistics(text, length, top);
    } else {
        print_text_statistics(text, length, top);
    }
    fprintf(stderr, "read %zu bytes\n", length);
    return fflush(stdout) == 0 && !ferror(stdin) ? 0 : 1;
}
