/* Filter a PNG from standard input to a PNG on standard output:
 *
 *     image_filter [--blur RADIUS] [--sharpen RADIUS PERCENT] [--edges] ... < in.png > out.png
 *
 * Filters apply in the order given. PNG is read and written by stb_image and stb_image_write, as Debian ships them. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters.h"

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_SIMD
#define STBI_NO_THREAD_LOCALS
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>

enum { READ_STEP = 1 << 16, MOST_INPUT = 1 << 26, MOST_PIXELS = 1 << 26, USAGE = 2 };

static int usage(void) {
    fprintf(stderr,
            "usage: image_filter [--blur RADIUS] [--sharpen RADIUS PERCENT] [--edges] ... < in.png > out.png\n"
            "RADIUS 1 to %d, PERCENT 1 to %d\n",
            MOST_RADIUS, MOST_PERCENT);
    return USAGE;
}

static unsigned char *read_all(size_t *length) {
    unsigned char *bytes = NULL;
    size_t used = 0, got;
    do {
        bytes = used < MOST_INPUT ? realloc(bytes, used + READ_STEP) : NULL;
        if (bytes == NULL) {
            return NULL;
        }
        got = fread(bytes + used, 1, READ_STEP, stdin);
        used += got;
    } while (got > 0);
    *length = used;
    return bytes;
}

static bool number(const char *text, unsigned most, unsigned *value) {
    char *end;
    unsigned long parsed = text == NULL ? 0 : strtoul(text, &end, 10);
    if (parsed == 0 || *end != '\0' || parsed > most) {
        return false;
    }
    *value = (unsigned)parsed;
    return true;
}

/* Apply the filters named in `argv`; without an image only check them. */
static bool apply(char **argv, struct image *image) {
    for (char **arg = argv + 1; *arg != NULL; arg++) {
        unsigned radius, percent;
        if (strcmp(*arg, "--blur") == 0 && number(arg[1], MOST_RADIUS, &radius)) {
            arg += 1;
            if (image != NULL) {
                blur(image, radius);
            }
        } else if (strcmp(*arg, "--sharpen") == 0 && number(arg[1], MOST_RADIUS, &radius) &&
                   number(arg[2], MOST_PERCENT, &percent)) {
            arg += 2;
            if (image != NULL) {
                sharpen(image, radius, percent);
            }
        } else if (strcmp(*arg, "--edges") == 0) {
            if (image != NULL) {
                edges(image);
            }
        } else {
            return false;
        }
    }
    return true;
}

static void write_bytes(void *failed, void *bytes, int length) {
    *(bool *)failed |= fwrite(bytes, 1, (size_t)length, stdout) != (size_t)length;
}

int main(int argc, char **argv) {
    (void)argc;
    if (!apply(argv, NULL)) {
        return usage();
    }
    size_t length = 0;
    unsigned char *input = read_all(&length);
    if (input == NULL) {
        fprintf(stderr, "the input is longer than %d bytes, or memory is short\n", MOST_INPUT);
        return 1;
    }
    struct image image;
    if (!stbi_info_from_memory(input, (int)length, &image.width, &image.height, &image.channels) ||
        stbi_is_16_bit_from_memory(input, (int)length) ||
        (long long)image.width * image.height > MOST_PIXELS) {
        fprintf(stderr, "the input isn't a PNG with 8 bits a sample and at most %d pixels\n", MOST_PIXELS);
        return 1;
    }
    image.samples = stbi_load_from_memory(input, (int)length, &image.width, &image.height, &image.channels, 0);
    if (image.samples == NULL) {
        fprintf(stderr, "the PNG can't be read: %s\n", stbi_failure_reason());
        return 1;
    }
    free(input);
    apply(argv, &image);
    bool failed = false;
    int stride = image.width * image.channels;
    if (!stbi_write_png_to_func(write_bytes, &failed, image.width, image.height, image.channels, image.samples,
                                stride) ||
        failed || fflush(stdout) != 0) {
        fputs("the PNG can't be written\n", stderr);
        return 1;
    }
    fprintf(stderr, "filtered %d x %d pixels of %d channels\n", image.width, image.height, image.channels);
    return 0;
}
