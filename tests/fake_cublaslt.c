// Stands in for cuBLASLt in tests: the same functions, by their documented meaning, on host memory and in double.
//
// It refuses what the library may not be asked for (sizes that do not fit, a missing bias, too little memory to work
// in, arrays less aligned than was said when the algorithm was chosen), and writes down what it was asked for last.
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kSuccess = 0, kInvalid = 7, kNotSupported = 15 };
enum { kF32 = 0, kF64 = 1, kF16 = 2, kBF16 = 14 };
enum { kRelu = 2, kBias = 4, kSlopeOfRelu = 8, kGradient = 16, kGelu = 32, kSlopeOfGelu = 64, kAux = 128 };
enum { kGradientA = 256, kGradientB = 512 };

typedef struct {
  int compute, scale;
  int32_t attributes[8];
  void *vector, *aux;
  int64_t aux_leading, aux_stride;
} Desc;
typedef struct { int type; uint64_t rows, columns; int64_t leading, stride; int32_t batch; } Layout;
typedef struct { uint64_t workspace; uint32_t alignment[4]; } Preference;
typedef struct { uint64_t data[8]; } Algorithm;
typedef struct { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; } Heuristic;

static const uint64_t kMagic = 0xc0ffee;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char last[2048];
static long alive, handles, searches, calls;
static int algorithms = 3;

static void count(long* counter, long by) {
  pthread_mutex_lock(&lock);
  *counter += by;
  pthread_mutex_unlock(&lock);
}

const char* fake_last(void) {  // valid until the thread asks again
  static _Thread_local char copy[sizeof last];
  pthread_mutex_lock(&lock);
  memcpy(copy, last, sizeof last);
  pthread_mutex_unlock(&lock);
  return copy;
}
long fake_alive(void) { return alive; }
long fake_handles(void) { return handles; }
long fake_searches(void) { return searches; }
long fake_calls(void) { return calls; }
void fake_algorithms(int number) { algorithms = number; }

size_t cublasLtGetVersion(void) { return 999000; }
const char* cublasLtGetStatusString(int status) { return status == kNotSupported ? "not supported" : "invalid value"; }

int cublasLtCreate(void** handle) {
  count(&handles, 1);
  *handle = (void*)&kMagic;
  return kSuccess;
}

static int make(void** made, size_t bytes) {
  count(&alive, 1);
  *made = calloc(1, bytes);
  return kSuccess;
}

static int destroy(void* made) {
  count(&alive, -1);
  free(made);
  return kSuccess;
}

int cublasLtMatmulDescCreate(Desc** made, int compute, int scale) {
  make((void**)made, sizeof **made);
  (*made)->compute = compute;
  (*made)->scale = scale;
  (*made)->attributes[7] = 1;
  return kSuccess;
}

int cublasLtMatrixLayoutCreate(Layout** made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  make((void**)made, sizeof **made);
  const Layout layout = {type, rows, columns, leading, 0, 1};
  **made = layout;
  return leading >= (int64_t)rows ? kSuccess : kInvalid;
}

int cublasLtMatmulPreferenceCreate(Preference** made) {
  make((void**)made, sizeof **made);
  for (int i = 0; i < 4; ++i) (*made)->alignment[i] = 256;
  return kSuccess;
}

int cublasLtMatmulDescDestroy(Desc* desc) { return destroy(desc); }
int cublasLtMatrixLayoutDestroy(Layout* layout) { return destroy(layout); }
int cublasLtMatmulPreferenceDestroy(Preference* preference) { return destroy(preference); }

static int set(void* field, size_t size, const void* value, size_t given) {
  if (size != given) return kInvalid;
  memcpy(field, value, size);
  return kSuccess;
}

int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, size_t bytes) {
  if (attribute == 8) return set(&desc->vector, sizeof desc->vector, value, bytes);
  if (attribute == 11) return set(&desc->aux, sizeof desc->aux, value, bytes);
  if (attribute == 12) return set(&desc->aux_leading, sizeof desc->aux_leading, value, bytes);
  if (attribute == 13) return set(&desc->aux_stride, sizeof desc->aux_stride, value, bytes);
  if (attribute != 3 && attribute != 4 && attribute != 7) return kInvalid;
  return set(&desc->attributes[attribute], sizeof(int32_t), value, bytes);
}

int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
  if (attribute == 5) return set(&layout->batch, sizeof layout->batch, value, bytes);
  return attribute == 6 ? set(&layout->stride, sizeof layout->stride, value, bytes) : kInvalid;
}

int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t bytes) {
  if (attribute == 1) return set(&preference->workspace, sizeof preference->workspace, value, bytes);
  if (attribute < 5 || attribute > 8) return kInvalid;
  return set(&preference->alignment[attribute - 5], sizeof(uint32_t), value, bytes);
}

static int fits(const Desc* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
  const int ta = desc->attributes[3], tb = desc->attributes[4], epilogue = desc->attributes[7];
  const uint64_t depth = ta ? a->rows : a->columns;
  const int has_vector = (epilogue & (kBias | kGradient | kGradientA | kGradientB)) != 0;
  const int has_aux = (epilogue & kAux) != 0, whole = epilogue & kSlopeOfRelu ? 128 : 8;
  if (has_aux != (desc->aux != NULL)) return 0;
  if (has_aux && (desc->aux_leading < (int64_t)d->rows || desc->aux_leading % whole || desc->aux_stride % whole)) return 0;
  if (epilogue & (kSlopeOfRelu | kSlopeOfGelu) && depth == 1) return 0;
  return (ta ? a->columns : a->rows) == d->rows && (tb ? b->columns : b->rows) == depth &&
         (tb ? b->rows : b->columns) == d->columns && c->rows == d->rows && c->columns == d->columns &&
         a->batch == d->batch && b->batch == d->batch && c->batch == d->batch && has_vector == (desc->vector != NULL);
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, Desc* desc, Layout* a, Layout* b, Layout* c, Layout* d,
                                   Preference* preference, int asked, Heuristic* found, int* returned) {
  if (handle != (void*)&kMagic || !fits(desc, a, b, c, d)) return kInvalid;
  count(&searches, 1);
  if (algorithms == 0) return kNotSupported;
  *returned = asked < algorithms ? asked : algorithms;
  uint32_t alignment = 256;
  for (int i = 0; i < 4; ++i) alignment = preference->alignment[i] < alignment ? preference->alignment[i] : alignment;
  for (int i = 0; i < *returned; ++i) {
    const Algorithm algorithm = {{kMagic, (uint64_t)i, alignment, preference->workspace}};
    const Heuristic heuristic = {algorithm, 1024u << i, kSuccess, 1, {0}};
    found[i] = heuristic;
  }
  return kSuccess;
}

static double load(int type, const void* base, int64_t i) {
  if (type == kF64) return ((const double*)base)[i];
  if (type == kF32) return ((const float*)base)[i];
  const uint16_t bits = ((const uint16_t*)base)[i];
  if (type == kBF16) {
    const uint32_t wide = (uint32_t)bits << 16;
    float number;
    memcpy(&number, &wide, sizeof number);
    return number;
  }
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double size = exponent ? ldexp(mantissa + 1024, exponent - 25) : ldexp(mantissa, -24);
  return bits >> 15 ? -size : size;
}

// Narrow numbers are finite here.
static void store(int type, void* base, int64_t i, double number) {
  if (type == kF64) {
    ((double*)base)[i] = number;
  } else if (type == kF32) {
    ((float*)base)[i] = (float)number;
  } else if (type == kBF16) {
    const float narrow = (float)number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    ((uint16_t*)base)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  } else {
    const int exponent = number == 0 || ilogb(number) < -14 ? -14 : ilogb(number);
    const int size = (int)nearbyint(ldexp(fabs(number), 10 - exponent)) + ((exponent + 14) << 10);
    ((uint16_t*)base)[i] = (uint16_t)(size | (signbit(number) ? 0x8000 : 0));
  }
}

static double tanh_of_gelu(double x) { return tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)); }

static double slope_of_gelu(double x) {
  const double t = tanh_of_gelu(x);
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / acos(-1.0)) * (1 + 3 * 0.044715 * x * x);
}

// The bits of a ReLU are read in the order in which NVIDIA's tests of nvmath-python read them.
static double activated(const Desc* desc, int type, int64_t i, int64_t j, int64_t batch, double x) {
  const int epilogue = desc->attributes[7];
  const int64_t at = i + j * desc->aux_leading + batch * desc->aux_stride;
  if (epilogue & kSlopeOfRelu) return ((const uint8_t*)desc->aux)[at / 8] >> at % 8 & 1 ? x : 0;
  if (epilogue & kSlopeOfGelu) return x * slope_of_gelu(load(type, desc->aux, at));
  if (epilogue & kRelu) return x > 0 ? x : isnan(x) ? x : 0;
  if (epilogue & kGelu && epilogue & kAux) store(type, desc->aux, at, x);
  return epilogue & kGelu ? 0.5 * x * (1 + tanh_of_gelu(x)) : x;
}

static int aligned(const void* address, uint64_t to) { return (uintptr_t)address % to == 0; }

static void record(const Desc* desc, double alpha, double beta, const Layout* const* layouts,
                   const Algorithm* algorithm, int has_c, size_t workspace, const void* stream) {
  pthread_mutex_lock(&lock);
  ++calls;
  int at = snprintf(last, sizeof last,
                    "{\"compute\":%d,\"scale\":%d,\"transa\":%d,\"transb\":%d,\"epilogue\":%d,\"alpha\":%.17g,"
                    "\"beta\":%.17g,\"rank\":%d,\"alignment\":%d,\"limit\":%llu,\"workspace\":%zu,\"separate_c\":%d,"
                    "\"stream\":%d,\"aux\":[%lld,%lld]",
                    desc->compute, desc->scale, desc->attributes[3], desc->attributes[4], desc->attributes[7], alpha,
                    beta, (int)algorithm->data[1], (int)algorithm->data[2], (unsigned long long)algorithm->data[3],
                    workspace, has_c, stream != NULL, (long long)desc->aux_leading, (long long)desc->aux_stride);
  for (int i = 0; i < 4; ++i)
    at += snprintf(last + at, sizeof last - (size_t)at, ",\"%c\":[%d,%d,%d,%lld,%d,%lld]", "abcd"[i], layouts[i]->type,
                   (int)layouts[i]->rows, (int)layouts[i]->columns, (long long)layouts[i]->leading, layouts[i]->batch,
                   (long long)layouts[i]->stride);
  snprintf(last + at, sizeof last - (size_t)at, "}");
  pthread_mutex_unlock(&lock);
}

int cublasLtMatmul(void* handle, Desc* desc, const void* alpha, const void* a, Layout* la, const void* b, Layout* lb,
                   const void* beta, const void* c, Layout* lc, void* d, Layout* ld, const Algorithm* algorithm,
                   void* workspace, size_t bytes, void* stream) {
  const uint64_t to = algorithm->data[2];
  if (handle != (void*)&kMagic || algorithm->data[0] != kMagic || !fits(desc, la, lb, lc, ld)) return kInvalid;
  if (!aligned(a, to) || !aligned(b, to) || !aligned(c, to) || !aligned(d, to) || !aligned(desc->vector, to) ||
      !aligned(desc->aux, to))
    return kInvalid;
  if (bytes < 1024u << algorithm->data[1] || !aligned(workspace, 256)) return kInvalid;
  memset(workspace, 0xff, bytes);
  const double factor = load(desc->scale, alpha, 0), other = load(desc->scale, beta, 0);
  const Layout* const layouts[] = {la, lb, lc, ld};
  record(desc, factor, other, layouts, algorithm, c != d, bytes, stream);
  const int ta = desc->attributes[3], tb = desc->attributes[4], epilogue = desc->attributes[7];
  const int64_t depth = (int64_t)(ta ? la->rows : la->columns), m = (int64_t)ld->rows, n = (int64_t)ld->columns;
  for (int64_t batch = 0; batch < ld->batch; ++batch)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < depth; ++k)
          sum += load(la->type, a, batch * la->stride + (ta ? k + i * la->leading : i + k * la->leading)) *
                 load(lb->type, b, batch * lb->stride + (tb ? j + k * lb->leading : k + j * lb->leading));
        double x = factor * sum;
        if (other != 0) x += other * load(lc->type, c, batch * lc->stride + i + j * lc->leading);
        if (epilogue & kBias) x += load(ld->type, desc->vector, i);
        store(ld->type, d, batch * ld->stride + i + j * ld->leading, activated(desc, ld->type, i, j, batch, x));
      }
  for (int64_t i = 0; epilogue & kGradient && i < m; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += load(ld->type, d, i + j * ld->leading);
    store(ld->type, desc->vector, i, sum);
  }
  const int of_a = epilogue == kGradientA;
  for (int64_t i = 0; (of_a || epilogue == kGradientB) && i < (of_a ? m : n); ++i) {
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k)
      sum += of_a ? load(la->type, a, ta ? k + i * la->leading : i + k * la->leading)
                  : load(lb->type, b, tb ? i + k * lb->leading : k + i * lb->leading);
    store(ld->type, desc->vector, i, sum);
  }
  return kSuccess;
}
