// The loops over numbers, compiled once per instruction set and tile size; everything else is in plan.cc.
//
// Words: a *patch* is the square of input pixels that one *tile* of output pixels depends on. It is transformed into a
// square of *data*. A *point* is one of the squares' places at which data meet transformed weights; each has its own
// matrix product over the channels.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::winograd {

constexpr int kVector = 16;       // channels come in multiples of this, whatever the instruction set
constexpr int kBlockVectors = 4;  // at most so many vectors of output channels are made at a time
constexpr int kMaxTile = 4, kMaxPixels = kMaxTile + 2;

// F(2x2, 3x3), F(4x4, 3x3), and the latter where each pixel is met twice in either direction, as nearest upsampling by 2
// with odd padding makes it.
enum class Method { kTwo, kFour, kDoubled };

// Of one side.
struct Sides {
  int tile, pixels, data, points;
  int data_at[kMaxPixels];  // the datum that each point takes
};

constexpr Sides SidesOf(Method method) {
  switch (method) {
    case Method::kTwo: return {2, 4, 4, 4, {0, 1, 2, 3}};
    case Method::kFour: return {4, 6, 6, 6, {0, 1, 2, 3, 4, 5}};
    default: return {4, 4, 4, 5, {0, 1, 2, 2, 3}};
  }
}

// Rows x channels of `a` times channels x columns of `b`, summed over `segments` pairs of matrices, into `m`.
struct Product {
  const float *a, *b;
  float* m;
  int64_t rows, channels, columns;  // `m` has rows of `columns`
  int64_t a_row, a_segment;         // distances in elements
  int64_t b_panel;                  // `b` is dense in panels of `Kernels::panel` columns, or what is left of them
  int64_t segments;
};

// One tile of the result, `columns` channels of it.
struct Tile {
  const float* m;
  int64_t m_point;  // distance between points
  int64_t columns;
  int64_t at[kMaxTile * kMaxTile];  // number of each pixel in the result, -1 for those outside
  int64_t to_next;                  // from a pixel to the same one of the tile to the right, in elements
  float* result;
  const float *bias, *add;      // null if there is none
  int64_t add_row, result_row;  // from a pixel to the next
  bool relu;
  const struct Direct* direct;
};

// What one tile is computed from where numbers are infinite or NaN: there the transforms would turn Inf into NaN.
struct Direct {
  const float* const* pixels;  // [segment][patch]
  const float* weights;        // [segment][3][3][channels][columns of all]
  int64_t segments, channels, weights_row;
};

struct Kernels {
  int64_t panel;  // columns that are multiplied together
  // Patches are given as one pointer per pixel, to `channels` numbers each. Datum d goes to v + d * v_datum.
  void (*input)(const float* const* pixels, int64_t channels, float* v, int64_t v_datum);
  void (*multiply)(const Product& product);
  // Columns from `first` on. Gives the column it stopped at: all of them, or the first of those where a number is not
  // finite and `tile.direct` is null.
  int64_t (*output)(const Tile& tile, int64_t first);
  // 3x3 weights of one input channel, `columns` output channels; tap t at w + t * w_tap, point p to u + p * u_point.
  void (*weights)(const float* w, int64_t w_tap, int64_t columns, float* u, int64_t u_point);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels(Method method);
const Kernels* Avx2Kernels(Method method);

inline constexpr Offer<Kernels, Method> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::winograd
