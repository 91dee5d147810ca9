#include "filters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TAPS = 2 * MOST_RADIUS + 1 };

static size_t sample_count(const struct image *image) {
    return (size_t)image->width * (size_t)image->height * (size_t)image->channels;
}

static uint8_t *allocate(size_t size) {
    uint8_t *memory = malloc(size);
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static int clamp(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

static int colour_channels(const struct image *image) { return image->channels - (image->channels % 2 == 0); }

/* Smooth `count` samples at distance `stride`. At most 2^24 * 255 + 2^23 in `sum`, which is below 2^32. */
static void blur_line(const uint8_t *from, uint8_t *to, int count, size_t stride, const uint32_t *weights,
                      int radius) {
    for (int i = 0; i < count; i++) {
        uint32_t sum = 1u << (2 * radius - 1);
        for (int tap = -radius; tap <= radius; tap++) {
            sum += weights[tap + radius] * from[(size_t)clamp(i + tap, count - 1) * stride];
        }
        to[(size_t)i * stride] = (uint8_t)(sum >> (2 * radius));
    }
}

void blur(struct image *image, unsigned radius) {
    uint32_t weights[MOST_TAPS] = {1};
    for (unsigned row = 1; row <= 2 * radius; row++) {
        for (unsigned i = row; i > 0; i--) {
            weights[i] += weights[i - 1];
        }
    }
    uint8_t *middle = allocate(sample_count(image));
    size_t pixel = (size_t)image->channels, row = pixel * (size_t)image->width;
    for (int y = 0; y < image->height; y++) {
        for (size_t channel = 0; channel < pixel; channel++) {
            size_t start = (size_t)y * row + channel;
            blur_line(image->samples + start, middle + start, image->width, pixel, weights, (int)radius);
        }
    }
    for (size_t start = 0; start < row; start++) {
        blur_line(middle + start, image->samples + start, image->height, row, weights, (int)radius);
    }
    free(middle);
}

void sharpen(struct image *image, unsigned radius, unsigned percent) {
    size_t count = sample_count(image);
    uint8_t *sharp = allocate(count);
    memcpy(sharp, image->samples, count);
    blur(image, radius);
    int colours = colour_channels(image);
    for (size_t i = 0; i < count; i++) {
        int scaled = ((int)sharp[i] - image->samples[i]) * (int)percent;
        int added = scaled >= 0 ? scaled / 100 : -((-scaled + 99) / 100);
        int coloured = (int)(i % (size_t)image->channels) < colours;
        image->samples[i] = coloured ? (uint8_t)clamp(sharp[i] + added, 255) : sharp[i];
    }
    free(sharp);
}

static int root(int square) { /* largest integer whose square is at most `square` */
    int result = 0;
    for (int bit = 1 << 10; bit > 0; bit >>= 1) {
        if ((result + bit) * (result + bit) <= square) {
            result += bit;
        }
    }
    return result;
}

static uint8_t brightness(const uint8_t *pixel, int colours) {
    return colours == 3 ? (uint8_t)((299 * pixel[0] + 587 * pixel[1] + 114 * pixel[2] + 500) / 1000) : pixel[0];
}

void edges(struct image *image) {
    int width = image->width, height = image->height, colours = colour_channels(image);
    uint8_t *grey = allocate((size_t)width * (size_t)height);
    for (size_t i = 0; i < (size_t)width * (size_t)height; i++) {
        grey[i] = brightness(image->samples + i * (size_t)image->channels, colours);
    }
    for (int y = 0; y < height; y++) {
        const uint8_t *above = grey + (size_t)clamp(y - 1, height - 1) * (size_t)width;
        const uint8_t *here = grey + (size_t)y * (size_t)width;
        const uint8_t *below = grey + (size_t)clamp(y + 1, height - 1) * (size_t)width;
        for (int x = 0; x < width; x++) {
            int left = clamp(x - 1, width - 1), right = clamp(x + 1, width - 1);
            int across = above[right] + 2 * here[right] + below[right] - above[left] - 2 * here[left] - below[left];
            int down = below[left] + 2 * below[x] + below[right] - above[left] - 2 * above[x] - above[right];
            int shade = 255 - clamp(root(across * across + down * down), 255);
            uint8_t *pixel = image->samples + ((size_t)y * (size_t)width + (size_t)x) * (size_t)image->channels;
            memset(pixel, shade, (size_t)colours);
        }
    }
    free(grey);
}
