/* Filters on 8-bit images, in integers, so that every machine computes the same pixels. Pixels beyond the border
 * are taken from the nearest one inside. */
#ifndef FILTERS_H
#define FILTERS_H

#include <stddef.h>
#include <stdint.h>

enum { MOST_RADIUS = 12, MOST_PERCENT = 1000 };

struct image {
    uint8_t *samples; /* rows from the top, `channels` interleaved */
    int width, height, channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha */
};

/* Smooth by the binomial weights of row 2 * `radius` of Pascal's triangle (a Gaussian of variance radius / 2), first
 * along rows, then along columns, each rounded to the nearest. `radius` is 1..MOST_RADIUS. */
void blur(struct image *image, unsigned radius);

/* Add `percent` % of the difference from the blurred image (unsharp mask), rounded down; alpha stays. */
void sharpen(struct image *image, unsigned radius, unsigned percent);

/* Draw edges dark on white: 255 less the length of the Sobel gradient of brightness; alpha stays. */
void edges(struct image *image);

#endif
