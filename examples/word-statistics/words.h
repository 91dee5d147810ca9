/* Counts of words: a hash table that grows. A word is a run of ASCII letters, digits and bytes from 0x80 up, with
 * ASCII letters in lower case. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>
#include <stdint.h>

struct word {
    const unsigned char *text; /* into the caller's buffer, not terminated */
    size_t length;
    uint64_t count;
};

struct words {
    struct word *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t used;
};

/* Add 1 to the count of the `length` bytes at `text`, which must stay where they are. */
void words_add(struct words *words, const unsigned char *text, size_t length);

/* All words in a new array of `words->used`: most frequent first, equal counts in byte order. */
struct word *words_sorted(const struct words *words);

#endif
