// The loops over numbers, compiled once per instruction set and tile size; everything else is in plan.cc.
//
// Words: a *patch* is the square of input pixels that one *tile* of output pixels depends on, `Points` on a side. A
// *point* is one of the Points^2 places of a transformed patch; each has its own matrix product over the channels.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::winograd {

constexpr int kVector = 16;       // channels come in multiples of this, whatever the instruction set
constexpr int kBlockVectors = 4;  // at most so many vectors of output channels are made at a time
constexpr int kMaxTile = 4, kMaxPoints = kMaxTile + 2;

// Rows x channels of `a` times channels x columns of `b`, summed over `segments` pairs of matrices, into `m`.
struct Product {
  const float *a, *b;
  float* m;
  int64_t rows, channels, columns;  // `b` is dense, `m` has rows of `columns`
  int64_t a_row, a_segment;         // distances in elements
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
  const float* const* pixels;  // [segment][Points][Points]
  const float* weights;        // [segment][3][3][channels][columns of all]
  int64_t segments, channels, weights_row;
};

struct Kernels {
  // Patches are given as one pointer per pixel, to `channels` numbers each. Point p of the result goes to
  // v + p * v_point.
  void (*input)(const float* const* pixels, int64_t channels, float* v, int64_t v_point);
  void (*multiply)(const Product& product);
  // Columns from `first` on. Gives the column it stopped at: all of them, or the first of those where a number is not
  // finite and `tile.direct` is null.
  int64_t (*output)(const Tile& tile, int64_t first);
  // 3x3 weights of one input channel, `columns` output channels; tap t at w + t * w_tap, point p to u + p * u_point.
  void (*weights)(const float* w, int64_t w_tap, int64_t columns, float* u, int64_t u_point);
};

// For output tiles of `tile` x `tile`, 2 or 4. Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels(int tile);
const Kernels* Avx2Kernels(int tile);

inline constexpr Offer<Kernels, int> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::winograd
