/* Four kernels, compiled twice: to WebAssembly by `build`, and by gcc for this machine when they are measured.
 * No library: what differs between the two is the engine alone. Each returns a number that depends on all it did. */
#include <stdint.h>

#define EXPORT(name) __attribute__((visibility("default"), used)) uint64_t name

/* SHA-256 (FIPS 180-4) of `rounds` blocks, each chained to the one before: 32-bit integers. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

EXPORT(sha256)(uint32_t rounds)
{
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t w[64];
    for (uint32_t round = 0; round < rounds; round++) {
        for (int i = 0; i < 16; i++) w[i] = h[i % 8] ^ round;
        for (int i = 16; i < 64; i++) {
            uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + a + w[i - 7] + b;
        }
        uint32_t s[8];
        for (int i = 0; i < 8; i++) s[i] = h[i];
        for (int i = 0; i < 64; i++) {
            uint32_t e = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
            uint32_t t = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
            uint32_t a = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
            uint32_t u = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            for (int j = 7; j > 0; j--) s[j] = s[j - 1];
            s[4] += t;
            s[0] = t + u;
        }
        for (int i = 0; i < 8; i++) h[i] += s[i];
    }
    return (uint64_t)h[0] << 32 | h[1];
}

/* Matrices of doubles, multiplied `rounds` times: floating point and strides. */
#define N 96
static double left[N][N], right[N][N], product[N][N];

EXPORT(matmul)(uint32_t rounds)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            left[i][j] = (i * 7 + j) % 13 / 13.0;
            right[i][j] = (i + j * 5) % 11 / 11.0;
        }
    double sum = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) product[i][j] = 0;
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++)
                for (int j = 0; j < N; j++) product[i][j] += left[i][k] * right[k][j];
        left[round % N][(round * 3) % N] = product[round % N][round % N] / (N * N);
        sum += product[N - 1][round % N];
    }
    return (uint64_t)(sum * 1000);
}

/* Primes below 2^20 by the sieve of Eratosthenes, `rounds` times: memory. */
#define LIMIT (1 << 20)
static uint8_t composite[LIMIT];

EXPORT(sieve)(uint32_t rounds)
{
    uint64_t count = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < LIMIT; i++) composite[i] = 0;
        for (uint32_t i = 2; i < LIMIT; i++) {
            if (composite[i]) continue;
            count++;
            for (uint64_t j = (uint64_t)i * i; j < LIMIT; j += i) composite[j] = 1;
        }
    }
    return count;
}

/* Heapsort of 2^16 numbers, `rounds` times: branches that nobody can predict. */
#define COUNT (1 << 16)
static uint32_t numbers[COUNT];

static void sift(uint32_t root, uint32_t end)
{
    uint32_t value = numbers[root];
    for (uint32_t child; (child = 2 * root + 1) < end; root = child) {
        if (child + 1 < end && numbers[child + 1] > numbers[child]) child++;
        if (numbers[child] <= value) break;
        numbers[root] = numbers[child];
    }
    numbers[root] = value;
}

EXPORT(heapsort)(uint32_t rounds)
{
    uint64_t sum = 0;
    uint32_t seed = 1;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < COUNT; i++) numbers[i] = seed = seed * 1664525 + 1013904223;
        for (uint32_t i = COUNT / 2; i-- > 0;) sift(i, COUNT);
        for (uint32_t end = COUNT - 1; end > 0; end--) {
            uint32_t top = numbers[0];
            numbers[0] = numbers[end];
            numbers[end] = top;
            sift(0, end);
        }
        sum = sum * 31 + numbers[COUNT / 3];
    }
    return sum;
}
