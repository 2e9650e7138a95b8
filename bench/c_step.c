/* The training step of the two-layer network as a careful C programmer would write it: the line to beat.

   c_step.py compiles it for one data type and one number of inputs and classes, so that loops over both unroll:
   cc -O3 -march=native -fopenmp -DREAL=double -DINT=int64_t -DD=2 -DK=3. Vectors run over the rows of a tile, all
   that a tile needs lies in the first-level cache, and no array has an entry for every row and hidden unit: the
   backward pass computes the hidden values again. Softmax does not notice when all scores of a row shift, and its
   gradients sum to zero: with the last class as origin, K - 1 columns of scores and gradients are enough.

   Right for any D and H, and K up to 255; fast while the sums of two hidden units, 2 (D + K) vectors, fit into the
   registers. X (N, D), y (N,) in [0, K), W (D, H), b (H,), W2 (H, K), b2 (K,), all C-contiguous. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
#endif

#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif
typedef REAL vec __attribute__((vector_size(BYTES)));
typedef INT ivec __attribute__((vector_size(BYTES)));   /* integers, or masks: all bits of a lane or none */

#define LANES (BYTES / (int)sizeof(REAL))
#define VECTORS (3072 / BYTES)   /* of a tile: in float64 at D = 2 and K = 3 it is five arrays of 3 KiB */
#define TILE (VECTORS * LANES)   /* rows */
#define C (K - 1)                /* columns of scores beside those of the origin */
#define WIDE 4                   /* vectors of rows whose scores stay in registers for all hidden units */
#define UNITS 2                  /* hidden units whose sums stay in registers for all rows */
#define FACTORS 16               /* totals in [1, K] that are multiplied before one logarithm is taken of all */
#define UNROLL _Pragma("GCC unroll 16")
_Static_assert(K < 256, "K to the power of FACTORS must be finite in float32");

typedef struct { REAL w[D], b, v[C]; } unit;              /* of a hidden unit; v: W2 relative to the last class */
typedef struct { double dw[D], db, dw2[K]; } unit_sums;   /* its gradients, summed over rows */
typedef struct {
    double loss, db2[K];
    unit_sums units[];
} sums;
typedef union { vec vector[VECTORS]; REAL row[TILE]; } column;
typedef struct {
    column x[D], s[C];                                  /* inputs; scores, then their gradients */
    union { ivec vector[VECTORS]; INT row[TILE]; } y;   /* -1 in padding, which has neither loss nor gradient */
} tile;

int threaded(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

static vec every(REAL value) { return value - (vec){0}; }
static vec where(ivec mask, vec value) { return (vec)(mask & (ivec)value); }   /* 0 elsewhere */
static vec choose(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

/* Mask of z > 0 from the sign of 0 - z. Comparing takes units that multiply on Zen 4: backward took a tenth longer. */
static ivec positive(vec z) { return (ivec)(0 - z) >> (8 * sizeof(REAL) - 1); }

static double sum_lanes(vec value)
{
    ivec lane;
    UNROLL for (int i = 0; i < LANES; i++) lane[i] = i;
    UNROLL for (int n = LANES / 2; n; n /= 2) value += __builtin_shuffle(value, lane ^ n);
    return value[0];
}

/* exp(x) for x <= 0 as 2^n exp(r), |r| <= log(2) / 2, by the series of exp(r). */
static vec exp_of_negative(vec x)
{
    enum { WIDE_REAL = sizeof(REAL) == 8, DEGREE = WIDE_REAL ? 12 : 7, MANTISSA = WIDE_REAL ? 52 : 23 };
    static const REAL series[] = {1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320,
                                  1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600};
    const REAL lowest = WIDE_REAL ? -708 : -87;                         /* its exp is still a normal number */
    const REAL rounder = WIDE_REAL ? 6755399441055744.0 : 12582912.0;   /* 1.5 times 2^MANTISSA */
    const REAL high = 0.693145751953125, low = 1.4286068203094173e-6;   /* log(2); n * high is exact */
    x = choose(x > lowest, x, every(lowest));
    vec shifted = x * (REAL)1.4426950408889634 + rounder, n = shifted - rounder;   /* n in the last bits of shifted */
    vec r = x - n * high - n * low, value = every(series[DEGREE]);
    UNROLL for (int i = DEGREE - 1; i >= 0; i--) value = value * r + series[i];
    return (vec)((ivec)value + ((ivec)shifted << MANTISSA));
}

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Inputs of n rows, one array an input, and as many rows of zeros as fill the last vector; returns the vectors. */
static int load_inputs(const REAL *restrict X, int n, tile *restrict m)
{
    int padded = round_up(n, LANES);
    UNROLL for (int d = 0; d < D; d++) {
        for (int t = 0; t < n; t++) m->x[d].row[t] = X[t * D + d];
        for (int t = n; t < padded; t++) m->x[d].row[t] = 0;
    }
    return padded / LANES;
}

static void load_labels(const int64_t *restrict y, int n, tile *restrict m)
{
    for (int t = 0; t < n; t++) m->y.row[t] = y[t];
    for (int t = n; t < round_up(n, LANES); t++) m->y.row[t] = -1;
}

/* s = max(0, x W + b) v + (b2 - its last), in vectors t to t + wide. */
static inline __attribute__((always_inline)) void scores_of(tile *restrict m, int t, const int wide,
                                                            const unit *restrict units, int H, const REAL *b2)
{
    vec x[D][wide], s[C][wide];
    UNROLL for (int j = 0; j < wide; j++) {
        UNROLL for (int d = 0; d < D; d++) x[d][j] = m->x[d].vector[t + j];
        UNROLL for (int k = 0; k < C; k++) s[k][j] = every(b2[k] - b2[C]);
    }
    for (int h = 0; h < H; h++) {
        const unit *u = units + h;
        UNROLL for (int j = 0; j < wide; j++) {
            vec z = every(u->b);
            UNROLL for (int d = 0; d < D; d++) z += x[d][j] * u->w[d];
            z = where(positive(z), z);
            UNROLL for (int k = 0; k < C; k++) s[k][j] += z * u->v[k];
        }
    }
    UNROLL for (int j = 0; j < wide; j++)
        UNROLL for (int k = 0; k < C; k++) m->s[k].vector[t + j] = s[k][j];
}

static void scores(tile *restrict m, int n, const unit *restrict units, int H, const REAL *b2)
{
    int t = 0;
    for (; t + WIDE <= n; t += WIDE) scores_of(m, t, WIDE, units, H, b2);
    for (; t < n; t++) scores_of(m, t, 1, units, H, b2);
}

/* Sum of the rows' cross-entropies log(sum_k exp(s_k)) - s_y; s becomes its gradient. */
static double softmax_cross_entropy(tile *restrict m, int n)
{
    const vec one = every(1);
    vec shifts = {0};
    double loss = 0;
    for (int start = 0; start < n; start += FACTORS) {
        vec product = one;
        for (int t = start; t < min(n, start + FACTORS); t++) {
            vec top = {0}, own = {0}, s[C];   /* 0 is the score of the last class */
            UNROLL for (int k = 0; k < C; k++) {
                s[k] = m->s[k].vector[t];
                top = choose(s[k] > top, s[k], top);
                own += where(m->y.vector[t] == k, s[k]);
            }
            vec total = exp_of_negative(-top);
            UNROLL for (int k = 0; k < C; k++) total += s[k] = exp_of_negative(s[k] - top);
            ivec real = m->y.vector[t] >= 0;
            product *= choose(real, total, one);
            shifts += where(real, top - own);
            vec scale = where(real, one / total);
            UNROLL for (int k = 0; k < C; k++)
                m->s[k].vector[t] = s[k] * scale - where(m->y.vector[t] == k, one);
        }
        for (int i = 0; i < LANES; i++) loss += log(product[i]);
    }
    return loss + sum_lanes(shifts);
}

/* Adds the tile's gradients; dw2 and db2 of the last class are left to `update`. */
static void backward(const tile *restrict m, int n, const unit *restrict units, int H, sums *restrict total)
{
    UNROLL for (int k = 0; k < C; k++) {
        vec sum = {0};
        for (int t = 0; t < n; t++) sum += m->s[k].vector[t];
        total->db2[k] += sum_lanes(sum);
    }
    for (int h = 0; h < H; h += UNITS) {
        vec w[UNITS][D], b[UNITS], v[UNITS][C], dw[UNITS][D] = {0}, db[UNITS] = {0}, dv[UNITS][C] = {0};
        UNROLL for (int i = 0; i < UNITS; i++) {
            UNROLL for (int d = 0; d < D; d++) w[i][d] = every(units[h + i].w[d]);
            UNROLL for (int k = 0; k < C; k++) v[i][k] = every(units[h + i].v[k]);
            b[i] = every(units[h + i].b);
        }
        for (int t = 0; t < n; t++) {
            UNROLL for (int i = 0; i < UNITS; i++) {
                vec z = b[i], dz = m->s[0].vector[t] * v[i][0];
                UNROLL for (int d = 0; d < D; d++) z += m->x[d].vector[t] * w[i][d];
                UNROLL for (int k = 1; k < C; k++) dz += m->s[k].vector[t] * v[i][k];
                ivec active = positive(z);
                z = where(active, z);
                dz = where(active, dz);
                UNROLL for (int k = 0; k < C; k++) dv[i][k] += m->s[k].vector[t] * z;
                UNROLL for (int d = 0; d < D; d++) dw[i][d] += m->x[d].vector[t] * dz;
                db[i] += dz;
            }
        }
        UNROLL for (int i = 0; i < UNITS; i++) {
            unit_sums *g = total->units + h + i;
            UNROLL for (int d = 0; d < D; d++) g->dw[d] += sum_lanes(dw[i][d]);
            UNROLL for (int k = 0; k < C; k++) g->dw2[k] += sum_lanes(dv[i][k]);
            g->db += sum_lanes(db[i]);
        }
    }
}

/* Parameters of the units; H of them, then zeros up to a whole pair, which add nothing. */
static void pack(const REAL *W, const REAL *b, const REAL *W2, int H, unit *restrict units)
{
    for (int h = 0; h < H; h++) {
        UNROLL for (int d = 0; d < D; d++) units[h].w[d] = W[(size_t)d * H + h];
        UNROLL for (int k = 0; k < C; k++) units[h].v[k] = W2[(size_t)h * K + k] - W2[(size_t)h * K + C];
        units[h].b = b[h];
    }
    memset(units + H, 0, (round_up(H, UNITS) - H) * sizeof(unit));
}

/* Moves the parameters against the mean gradient of N rows; returns the loss before. totals[0] is used up. */
static double update(sums **totals, int threads, int64_t N, REAL *restrict W, REAL *restrict b, REAL *restrict W2,
                     REAL *restrict b2, int H, REAL step_size, REAL reg)
{
    sums *restrict total = totals[0];
    size_t count = 1 + K + (size_t)H * (D + 1 + K);   /* every sum is a double */
    for (int i = 1; i < threads; i++)
        for (size_t j = 0; j < count; j++) ((double *)total)[j] += ((double *)totals[i])[j];
    const double mean = 1.0 / N;
    double squares = 0;
    for (int h = 0; h < H; h++) {
        unit_sums *g = total->units + h;
        g->dw2[C] = 0;
        UNROLL for (int k = 0; k < C; k++) g->dw2[C] -= g->dw2[k];
        UNROLL for (int d = 0; d < D; d++) {
            REAL *w = W + (size_t)d * H + h;
            squares += (double)*w * *w;
            *w -= step_size * ((REAL)(g->dw[d] * mean) + reg * *w);
        }
        b[h] -= step_size * (REAL)(g->db * mean);
        UNROLL for (int k = 0; k < K; k++) {
            REAL *w = W2 + (size_t)h * K + k;
            squares += (double)*w * *w;
            *w -= step_size * ((REAL)(g->dw2[k] * mean) + reg * *w);
        }
    }
    total->db2[C] = 0;
    UNROLL for (int k = 0; k < C; k++) total->db2[C] -= total->db2[k];
    UNROLL for (int k = 0; k < K; k++) b2[k] -= step_size * (REAL)(total->db2[k] * mean);
    return total->loss * mean + 0.5 * reg * squares;
}

static void *allocate(size_t bytes) { return aligned_alloc(64, round_up(bytes, 64)); }

/* Tiles as large as they may be, smaller where each thread is to have one. */
static int tile_rows(int64_t N, int threads) { return min(TILE, round_up((N + threads - 1) / threads, LANES)); }

/* `steps` steps of gradient descent on the parameters in place; the loss before each goes to losses.
   Returns 0, or 1 when there is no memory. */
int descend(const REAL *X, const int64_t *y, int64_t N, int H, REAL *W, REAL *b, REAL *W2, REAL *b2, double step_size,
            double reg, int64_t steps, int threads, double *losses)
{
    int padded = round_up(H, UNITS), failed = 0;
    int64_t rows = tile_rows(N, threads), tiles = (N + rows - 1) / rows;
    size_t bytes = sizeof(sums) + padded * sizeof(unit_sums);
    unit *units = allocate(padded * sizeof(unit));
    sums **totals = calloc(threads, sizeof(sums *));
    if (units && totals)
        pack(W, b, W2, H, units);
    else
        failed = 1;

#pragma omp parallel num_threads(threads) if (!failed)
    {
        int me = omp_get_thread_num(), team = omp_get_num_threads();
        tile *m = allocate(sizeof(tile));
        sums *mine = allocate(bytes);
        if (!failed && m && mine)
            totals[me] = mine;
        else
#pragma omp atomic write
            failed = 1;
#pragma omp barrier
        for (int64_t step = 0; step < steps && !failed; step++) {
            memset(mine, 0, bytes);
            for (int64_t i = tiles * me / team; i < tiles * (me + 1) / team; i++) {
                int used = min(rows, N - i * rows), n = load_inputs(X + i * rows * D, used, m);
                load_labels(y + i * rows, used, m);
                scores(m, n, units, H, b2);
                mine->loss += softmax_cross_entropy(m, n);
                backward(m, n, units, H, mine);
            }
#pragma omp barrier
#pragma omp master
            {
                losses[step] = update(totals, team, N, W, b, W2, b2, H, step_size, reg);
                pack(W, b, W2, H, units);
            }
#pragma omp barrier
        }
        free(m);
        free(mine);
    }
    free(units);
    free(totals);
    return failed;
}

/* The class of the highest score of every row; returns 0, or 1 when there is no memory. */
int predict(const REAL *X, int64_t N, int H, const REAL *W, const REAL *b, const REAL *W2, const REAL *b2, int threads,
            int64_t *classes)
{
    int failed = 0;
    int64_t rows = tile_rows(N, threads), tiles = (N + rows - 1) / rows;
    unit *units = allocate(round_up(H, UNITS) * sizeof(unit));
    if (units)
        pack(W, b, W2, H, units);
    else
        failed = 1;

#pragma omp parallel num_threads(threads) if (!failed)
    {
        tile *m = allocate(sizeof(tile));
        if (!m)
#pragma omp atomic write
            failed = 1;
#pragma omp barrier
#pragma omp for
        for (int64_t i = 0; i < tiles; i++) {
            if (failed) continue;
            int used = min(rows, N - i * rows), n = load_inputs(X + i * rows * D, used, m);
            scores(m, n, units, H, b2);
            for (int t = 0; t < n; t++) {
                vec top = {0};
                ivec best = C - (ivec){0};
                UNROLL for (int k = C - 1; k >= 0; k--) {   /* backwards: of equal scores the first class wins */
                    ivec higher = m->s[k].vector[t] >= top;
                    top = choose(higher, m->s[k].vector[t], top);
                    best = (higher & k) | (~higher & best);
                }
                m->y.vector[t] = best;
            }
            for (int t = 0; t < used; t++) classes[i * rows + t] = m->y.row[t];
        }
        free(m);
    }
    free(units);
    return failed;
}
