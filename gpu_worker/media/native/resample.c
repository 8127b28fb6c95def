/* Separable antialiased Lanczos resampling of one 8-bit plane with a fractional crop box.
 *
 * Rows are worked on in bands. Each band is first sampled down its columns, which lie side by side
 * in memory; then turned, so that the band's rows lie side by side, and sampled along the rows in
 * the same way. So every step works on whole vectors, and what lies between the steps fits into a
 * core's cache. Between the steps values keep six bits more than the eight of a pixel.
 *
 * Built by hatch_build.py for every kind of CPU; called by resampler.py.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSSE3__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

enum {
    LOBES = 3,          /* of the Lanczos kernel, to each side */
    TABLE_STEPS = 1024, /* values of the kernel for each lobe */
    ONE = 1 << 14,      /* a weight of 1 */
    BAND = 32,          /* rows worked on at once */
    STRIP = 128,        /* columns worked on at once */
    FEW = 18,           /* samples for one result whose products may be rounded each */
    PADDING = 128,      /* bytes behind the last row that are read, but not used */
};

typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef int16_t i16x16 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));

/* Which samples make up each result along one axis, and how much of each. */
typedef struct {
    int count;    /* of samples for one result */
    int *first;   /* of them, for each result */
    int32_t *weights; /* `count` for each result, in units of 1 / ONE */
} Axis;

static float kernel[LOBES * TABLE_STEPS + 2];

__attribute__((constructor)) static void fill_kernel(void) {
    const double pi = 3.14159265358979323846;
    kernel[0] = 1;
    for (int i = 1; i < LOBES * TABLE_STEPS; i++) {
        double t = pi * i / TABLE_STEPS;
        kernel[i] = (float)(LOBES * sin(t) * sin(t / LOBES) / (t * t));
    }
}

static float lanczos(double distance) {
    double place = fabs(distance) * TABLE_STEPS;
    if (place >= LOBES * TABLE_STEPS) return 0;
    int before = (int)place;
    float part = (float)(place - before);
    return kernel[before] + part * (kernel[before + 1] - kernel[before]);
}

/* Weights as whole numbers whose sum is exactly 1: what is flat stays flat. */
static void quantise(const float *exact, float sum, int count, int32_t *weights) {
    int left = ONE, largest = 0;
    for (int i = 0; i < count; i++) {
        weights[i] = (int32_t)lrintf(exact[i] / sum * ONE);
        left -= weights[i];
        if (weights[i] > weights[largest]) largest = i;
    }
    weights[largest] += left;
    for (int i = 0; i < count; i++) weights[i] = (weights[i] & 0xffff) * 0x10001u;
}

/* results: how many are made of the part `start`, `length` of `samples` samples. */
static int lay_out(Axis *axis, int samples, double start, double length, int results, int padded) {
    double step = length / results, wider = step > 1 ? step : 1, reach = LOBES * wider;
    int count = (int)ceil(2 * reach);
    if (count > samples) count = samples;
    axis->count = count;
    axis->first = malloc(sizeof(int) * padded);
    axis->weights = malloc(sizeof(int32_t) * padded * count);
    float *exact = malloc(sizeof(float) * count);
    int failed = !axis->first || !axis->weights || !exact;
    for (int i = 0; i < padded && !failed; i++) {
        double centre = start + ((i < results ? i : results - 1) + 0.5) * step;
        int first = (int)floor(centre - reach + 0.5);
        if (first > samples - count) first = samples - count;
        if (first < 0) first = 0;
        float sum = 0;
        for (int k = 0; k < count; k++)
            sum += exact[k] = lanczos((first + k + 0.5 - centre) / wider);
        axis->first[i] = first;
        quantise(exact, sum, count, axis->weights + (size_t)i * count);
    }
    free(exact);
    return failed ? -1 : 0;
}

static void drop(Axis *axis) {
    free(axis->first);
    free(axis->weights);
}

/* a * b / 32768, rounded. */
static inline i16x16 times(i16x16 a, i16x16 b) {
#if defined(__AVX2__)
    return (i16x16)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b);
#else
    union { i16x16 whole; i16x8 half[2]; } x = {a}, y = {b}, z;
    for (int i = 0; i < 2; i++)
#if defined(__SSSE3__)
        z.half[i] = (i16x8)_mm_mulhrs_epi16((__m128i)x.half[i], (__m128i)y.half[i]);
#elif defined(__ARM_NEON)
        z.half[i] = (i16x8)vqrdmulhq_s16((int16x8_t)x.half[i], (int16x8_t)y.half[i]);
#else
        for (int j = 0; j < 8; j++)
            z.half[i][j] = (int16_t)(((int32_t)x.half[i][j] * y.half[i][j] + (1 << 14)) >> 15);
#endif
    return z.whole;
#endif
}

static inline i16x16 load(const int16_t *at) {
    i16x16 values;
    memcpy(&values, at, sizeof values);
    return values;
}

static inline i16x16 fill(int32_t pair) {
    i32x8 pairs = pair - (i32x8){0};
    return (i16x16)pairs;
}

/* Some rows of one strip of the source; each pixel gets seven bits behind the point. */
static void unpack(const uint8_t *source, ptrdiff_t stride, int rows, int16_t *into) {
    for (int y = 0; y < rows; y++, source += stride, into += STRIP)
        for (int x = 0; x < STRIP; x += 16) {
            u8x16 bytes;
            memcpy(&bytes, source + x, sizeof bytes);
            i16x16 values = __builtin_convertvector(bytes, i16x16) << 7;
            memcpy(into + x, &values, sizeof values);
        }
}

/* Of many products, each rounded, the sum would drift: what is flat would not stay flat. Where a
 * picture is reduced that much they are summed first, and rounded once. */
static void sum_exactly(const int16_t *source, ptrdiff_t stride, const int32_t *weights, int count,
                        int16_t *into, int width) {
    for (int x = 0; x < width; x += 8) {
        i32x8 sum = {0};
        for (int k = 0; k < count; k++) {
            i16x8 values;
            memcpy(&values, source + k * stride + x, sizeof values);
            sum += __builtin_convertvector(values, i32x8) * (int16_t)weights[k];
        }
        i16x8 rounded = __builtin_convertvector((sum + (1 << 14)) >> 15, i16x8);
        memcpy(into + x, &rounded, sizeof rounded);
    }
}

/* One row of results in one strip, down the columns; each has six bits behind the point. */
static void sample_down(const int16_t *source, const int32_t *weights, int count, int16_t *into) {
    if (count > FEW) {
        sum_exactly(source, STRIP, weights, count, into, STRIP);
        return;
    }
    for (int x = 0; x < STRIP; x += 64) {
        i16x16 sum[4] = {{0}};
        const int16_t *at = source + x;
        for (int k = 0; k < count; k++, at += STRIP) {
            i16x16 weight = fill(weights[k]);
            for (int i = 0; i < 4; i++) sum[i] += times(load(at + 16 * i), weight);
        }
        memcpy(into + x, sum, sizeof sum);
    }
}

static inline void turn(i16x8 r[8]) {
    i16x8 a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = __builtin_shufflevector(r[i], r[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        a[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (int i = 0; i < 4; i++) {
        r[2 * i] = __builtin_shufflevector(b[i], b[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        r[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
}

/* A strip of a band, so that the band's rows lie side by side for each column. */
static void turn_strip(const int16_t *strip, int16_t *into) {
    for (int x = 0; x < STRIP; x += 8)
        for (int y = 0; y < BAND; y += 8) {
            i16x8 block[8];
            for (int i = 0; i < 8; i++)
                memcpy(&block[i], strip + (size_t)(y + i) * STRIP + x, sizeof block[i]);
            turn(block);
            for (int i = 0; i < 8; i++)
                memcpy(into + (size_t)(x + i) * BAND + y, &block[i], sizeof block[i]);
        }
}

/* One column of results of a turned band; each has five bits behind the point. */
static inline void sample_across(const int16_t *turned, const int32_t *weights, int count,
                                 int16_t *into) {
    if (count > FEW) {
        sum_exactly(turned, BAND, weights, count, into, BAND);
        return;
    }
    i16x16 upper = {0}, lower = {0};
    for (int k = 0; k < count; k++, turned += BAND) {
        i16x16 weight = fill(weights[k]);
        upper += times(load(turned), weight);
        lower += times(load(turned + 16), weight);
    }
    memcpy(into, &upper, sizeof upper);
    memcpy(into + 16, &lower, sizeof lower);
}

static inline u8x8 rounded(i16x8 value) {
    i16x8 whole = (value + 16) >> 5;
    i16x8 positive = whole & (whole > 0);
    i16x8 over = positive > 255;
    return __builtin_convertvector((positive & ~over) | (over & 255), u8x8);
}

/* Eight columns of results, turned back into rows. */
static void put(const int16_t *columns, uint8_t *target, ptrdiff_t stride, int rows, int width) {
    for (int y = 0; y < rows; y += 8) {
        i16x8 block[8];
        for (int i = 0; i < 8; i++) memcpy(&block[i], columns + i * BAND + y, sizeof block[i]);
        turn(block);
        for (int i = 0; i < 8 && y + i < rows; i++) {
            u8x8 bytes = rounded(block[i]);
            if (width == 8)
                memcpy(target + (y + i) * stride, &bytes, 8);
            else
                memcpy(target + (y + i) * stride, &bytes, width);
        }
    }
}

static int round_up(int value, int step) { return (value + step - 1) / step * step; }

/* source: `width` x `height` bytes and PADDING more. The box lies within it. 0, or -1 where memory
 * is missing. */
int apigpu_resample(const uint8_t *source, int width, int height, double left, double top,
                    double box_width, double box_height, uint8_t *target, int target_width,
                    int target_height) {
    Axis across = {0}, down = {0};
    int16_t *turned = NULL, *unpacked = NULL;
    int16_t strip[BAND * STRIP], columns[8 * BAND];
    int result = lay_out(&across, width, left, box_width, target_width, round_up(target_width, 8));
    if (!result) result = lay_out(&down, height, top, box_height, target_height, target_height);
    if (result) goto end;
    int first = across.first[0], last = across.first[target_width - 1] + across.count;
    int used = round_up(last - first, STRIP);
    turned = aligned_alloc(64, (size_t)used * BAND * sizeof *turned);
    int most = round_up((int)ceil(BAND * box_height / target_height) + down.count + 1, 2);
    unpacked = aligned_alloc(64, (size_t)most * STRIP * sizeof *unpacked);
    result = turned && unpacked ? 0 : -1;
    for (int y = 0; y < target_height && !result; y += BAND) {
        int rows = target_height - y < BAND ? target_height - y : BAND;
        int highest = down.first[y], lowest = down.first[y + rows - 1] + down.count;
        for (int x = 0; x < used; x += STRIP) {
            unpack(source + (size_t)highest * width + first + x, width, lowest - highest, unpacked);
            for (int r = 0; r < rows; r++)
                sample_down(unpacked + (size_t)(down.first[y + r] - highest) * STRIP,
                            down.weights + (size_t)(y + r) * down.count, down.count,
                            strip + r * STRIP);
            turn_strip(strip, turned + (size_t)x * BAND);
        }
        for (int x = 0; x < target_width; x += 8) {
            for (int i = 0; i < 8; i++)
                sample_across(turned + (size_t)(across.first[x + i] - first) * BAND,
                              across.weights + (size_t)(x + i) * across.count, across.count,
                              columns + i * BAND);
            int count = target_width - x < 8 ? target_width - x : 8;
            put(columns, target + (size_t)y * target_width + x, target_width, rows, count);
        }
    }
end:
    free(turned);
    free(unpacked);
    drop(&across);
    drop(&down);
    return result;
}
