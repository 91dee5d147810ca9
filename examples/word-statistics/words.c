#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 4096 };

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static uint64_t hash(const unsigned char *text, size_t length) { /* FNV-1a */
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) {
        value = (value ^ text[i]) * 0x100000001b3u;
    }
    return value;
}

static struct word *find(struct words *words, const unsigned char *text, size_t length) {
    size_t mask = words->capacity - 1;
    size_t place = hash(text, length) & mask;
    while (words->slots[place].text != NULL) {
        struct word *word = &words->slots[place];
        if (word->length == length && memcmp(word->text, text, length) == 0) {
            return word;
        }
        place = (place + 1) & mask;
    }
    return &words->slots[place];
}

static void grow(struct words *words) {
    struct words larger = {.capacity = words->capacity ? words->capacity * 2 : FIRST_CAPACITY, .used = words->used};
    larger.slots = allocate(larger.capacity, sizeof *larger.slots);
    for (size_t i = 0; i < words->capacity; i++) {
        if (words->slots[i].text != NULL) {
            *find(&larger, words->slots[i].text, words->slots[i].length) = words->slots[i];
        }
    }
    free(words->slots);
    *words = larger;
}

void words_add(struct words *words, const unsigned char *text, size_t length) {
    if (words->used * 2 >= words->capacity) {
        grow(words);
    }
    struct word *word = find(words, text, length);
    if (word->text == NULL) {
        *word = (struct word){.text = text, .length = length};
        words->used++;
    }
    word->count++;
}

static int compare(const void *left, const void *right) {
    const struct word *a = left, *b = right;
    if (a->count != b->count) {
        return a->count < b->count ? 1 : -1;
    }
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, shorter);
    if (order != 0) {
        return order;
    }
    return a->length < b->length ? -1 : a->length > b->length;
}

struct word *words_sorted(const struct words *words) {
    struct word *sorted = allocate(words->used, sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < words->capacity; i++) {
        if (words->slots[i].text != NULL) {
            sorted[count++] = words->slots[i];
        }
    }
    qsort(sorted, count, sizeof *sorted, compare);
    return sorted;
}
