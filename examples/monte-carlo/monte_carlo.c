/* Prices of a call option by Monte Carlo, one part of a larger run:
 *
 *     monte_carlo [--part K] [--batches N] [--paths M] [--seed S] [--spot CENTS] [--strike CENTS] [--rate BP]
 *                 [--volatility BP] [--days D]
 *
 * A path is the share's price over D trading days of a year of 252, on the equal-probability lattice of Jarrow and Rudd
 * (1983) with 64 steps a day: the steps up are the bits of one number of xoshiro256** (Blackman and Vigna, 2018). Each
 * batch of M paths has a stream of its own, seeded by splitmix64 from seed, part and batch, so that anyone can compute
 * any one batch again. Two calls are paid on each path: the European on the last price, the Asian on the mean of the
 * daily closes.
 *
 * Only + - * / of doubles in a fixed order, no mathematical library: whoever does the same gets the same bits.
 * Output: a line of names, then one line a batch, fields parted by tabs; payoffs are sums, not discounted, in
 * millionths of a cent. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { YEAR_DAYS = 252, DAY_STEPS = 64, MOST_UPS = YEAR_DAYS * DAY_STEPS / 2, SERIES_TERMS = 40, NEWTON_STEPS = 60 };

static const double MOST_PAYOFF = 1e9; /* cents; so a batch's sum stays below 2^64 */
static const double UNITS = 1e6;       /* millionths */

struct setting {
    const char *name;
    uint64_t value, least, most;
};

enum { PART, BATCHES, PATHS, SEED, SPOT, STRIKE, RATE, VOLATILITY, DAYS, SETTINGS };

static struct setting settings[SETTINGS] = {
    [PART] = {"--part", 0, 0, 1000000},        [BATCHES] = {"--batches", 10, 1, 100000},
    [PATHS] = {"--paths", 1000, 1, 10000},     [SEED] = {"--seed", 1, 0, 1000000000000},
    [SPOT] = {"--spot", 10000, 1, 100000000},  [STRIKE] = {"--strike", 10000, 1, 100000000},
    [RATE] = {"--rate", 300, 0, 5000},         [VOLATILITY] = {"--volatility", 2000, 1, 10000},
    [DAYS] = {"--days", YEAR_DAYS, 1, YEAR_DAYS},
};

struct stream {
    uint64_t a, b, c, d;
};

struct batch {
    uint64_t european, asian, european_paid, asian_paid;
};

static double growth[2 * MOST_UPS + 1]; /* e^(2 * volatility * sqrt(dt) * ups), ups from -MOST_UPS */
static double trend[YEAR_DAYS + 1];     /* spot * e^((rate - volatility^2 / 2) * time), by day */

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t value, int by) { return (value << by) | (value >> (64 - by)); }

static struct stream stream_open(uint64_t seed, uint64_t part, uint64_t batch) {
    uint64_t state = seed;
    state = splitmix64(&state) ^ part;
    state = splitmix64(&state) ^ batch;
    struct stream stream;
    stream.a = splitmix64(&state);
    stream.b = splitmix64(&state);
    stream.c = splitmix64(&state);
    stream.d = splitmix64(&state);
    return stream;
}

static inline uint64_t stream_next(struct stream *s) {
    uint64_t result = rotate(s->b * 5, 7) * 9, shifted = s->b << 17;
    s->c ^= s->a;
    s->d ^= s->b;
    s->b ^= s->c;
    s->a ^= s->d;
    s->c ^= shifted;
    s->d = rotate(s->d, 45);
    return result;
}

static double exponential(double x) { /* by its series, for |x| at most 1 */
    double sum = 1, term = 1;
    for (int n = 1; n <= SERIES_TERMS; n++) {
        term = term * x / n;
        sum += term;
    }
    return sum;
}

static double square_root(double x) { /* by Newton's steps, for x in 0..1 */
    double root = 1;
    for (int i = 0; i < NEWTON_STEPS; i++) {
        root = (root + x / root) / 2;
    }
    return root;
}

static void build_tables(void) {
    double volatility = (double)settings[VOLATILITY].value / 10000, rate = (double)settings[RATE].value / 10000;
    double step = 2 * volatility * square_root(1.0 / (YEAR_DAYS * DAY_STEPS));
    double up = exponential(step), down = exponential(-step);
    growth[MOST_UPS] = 1;
    for (int i = 1; i <= MOST_UPS; i++) {
        growth[MOST_UPS + i] = growth[MOST_UPS + i - 1] * up;
        growth[MOST_UPS - i] = growth[MOST_UPS - i + 1] * down;
    }
    double day = exponential((rate - volatility * volatility / 2) / YEAR_DAYS);
    trend[0] = (double)settings[SPOT].value;
    for (int i = 1; i <= YEAR_DAYS; i++) {
        trend[i] = trend[i - 1] * day;
    }
}

static uint64_t payoff(double price, double strike) {
    double paid = price - strike;
    if (paid <= 0) {
        return 0;
    }
    return (uint64_t)((paid < MOST_PAYOFF ? paid : MOST_PAYOFF) * UNITS + 0.5);
}

static struct batch run_batch(uint64_t number) {
    struct stream stream = stream_open(settings[SEED].value, settings[PART].value, number);
    double strike = (double)settings[STRIKE].value;
    int days = (int)settings[DAYS].value;
    struct batch batch = {0};
    for (uint64_t path = 0; path < settings[PATHS].value; path++) {
        double price = 0, sum = 0;
        int ups = MOST_UPS;
        for (int day = 1; day <= days; day++) {
            ups += __builtin_popcountll(stream_next(&stream)) - DAY_STEPS / 2;
            price = trend[day] * growth[ups];
            sum += price;
        }
        uint64_t european = payoff(price, strike), asian = payoff(sum / days, strike);
        batch.european += european;
        batch.asian += asian;
        batch.european_paid += european > 0;
        batch.asian_paid += asian > 0;
    }
    return batch;
}

static bool read_settings(char **argv) {
    for (char **arg = argv + 1; *arg != NULL; arg += 2) {
        struct setting *found = NULL;
        for (int i = 0; i < SETTINGS; i++) {
            if (strcmp(*arg, settings[i].name) == 0) {
                found = &settings[i];
            }
        }
        if (found == NULL || arg[1] == NULL || arg[1][0] < '0' || arg[1][0] > '9') {
            return false;
        }
        char *end;
        found->value = strtoull(arg[1], &end, 10);
        if (*end != '\0' || found->value < found->least || found->value > found->most) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv) {
    (void)argc;
    if (!read_settings(argv)) {
        fputs("usage: monte_carlo", stderr);
        for (int i = 0; i < SETTINGS; i++) {
            fprintf(stderr, " [%s %" PRIu64 "..%" PRIu64 "]", settings[i].name, settings[i].least, settings[i].most);
        }
        fputs("\n", stderr);
        return 2;
    }
    build_tables();
    puts("part\tbatch\tpaths\teuropean\tasian\teuropean_paid\tasian_paid");
    for (uint64_t number = 0; number < settings[BATCHES].value; number++) {
        struct batch batch = run_batch(number);
        printf("%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
               settings[PART].value, number, settings[PATHS].value, batch.european, batch.asian, batch.european_paid,
               batch.asian_paid);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
