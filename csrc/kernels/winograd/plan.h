// A problem with its division into work. Const once built: any number of threads may run the same plan.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "kernels.h"
#include "problem.h"

namespace collage::winograd {

// A range of tiles at a range of output depths, and the transformed input they need.
struct Block {
  int64_t tile, tiles;    // the first and how many, counted over images, rows and columns
  int64_t depth, depths;  // of the output
  int64_t slice, slices;  // input depths
  float *v, *m;           // [slice][datum][tile][channel] and [point][depth][tile][channel of a group]
};

struct Arrays {
  const float *source, *weights, *packed, *bias, *add;  // null where the problem has none
  float* result;
};

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "3";  // of the layout of transformed weights and of the spec

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  // Operands are the source, the weights, the transformed weights, the bias and the summand, those there are.
  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  void Convolve(const Arrays& arrays) const;
  void Pack(const float* weights, float* packed) const;

  // Output channels are made in groups of at most kBlockVectors vectors, as equal as can be.
  int64_t groups() const { return (problem_.out_channels + kBlockVectors * kVector - 1) / (kBlockVectors * kVector); }
  int64_t GroupStart(int64_t group) const { return problem_.out_channels / kVector * group / groups() * kVector; }
  int64_t GroupSize(int64_t group) const { return GroupStart(group + 1) - GroupStart(group); }

  // Distances in elements. What belongs together lies a little off powers of two, which would share few cache lines.
  int64_t VDatum(int64_t tiles) const { return tiles * problem_.channels + kVector; }
  int64_t VSlice(int64_t tiles) const { return problem_.data() * VDatum(tiles); }
  int64_t MPoint(int64_t rows, int64_t columns) const { return rows * columns + kVector; }
  int64_t MStart(int64_t rows, int64_t group) const {
    return problem_.points() * (rows * GroupStart(group) + group * kVector);
  }

  void ChooseBlocks();
  int64_t VSize() const { return most_slices_ * VSlice(block_tiles_); }
  int64_t MSize() const;
  int64_t Pixels() const { return problem_.kernel_depth * problem_.pixels_of_patch(); }  // that a tile reads
  int64_t BlockCount() const;
  Block BlockAt(int64_t index) const;

  // `pixels` has room for what each thread reads of a tile: a thread of OpenMP's must not allocate, for it must not throw.
  void RunApart(const Arrays& arrays, float* scratch, const float** pixels) const;
  void RunTogether(const Arrays& arrays, float* scratch, const float** pixels) const;

  void FindPixels(const float* source, int64_t tile, int64_t slice, const float** pixels) const;
  void Input(const Arrays& arrays, const Block& block, int64_t slice, int64_t tile) const;
  void Multiply(const Arrays& arrays, const Block& block, float* m, int64_t group, int64_t point) const;
  void Output(const Arrays& arrays, const Block& block, const float* m, int64_t group, int64_t depth,
              int64_t tile, const float** pixels) const;

  Problem problem_;
  const Kernels* kernels_;
  int threads_;
  std::vector<float> zeros_;  // a pixel of the padding
  bool together_;             // all threads work on one block, each on some of its channels; else each on its own
  int64_t block_tiles_, block_depths_, most_slices_;
};

}  // namespace collage::winograd
