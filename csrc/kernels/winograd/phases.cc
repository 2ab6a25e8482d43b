// The three phases of a block: patches in, a matrix product for each point, tiles out.
#include "plan.h"

namespace collage::winograd {

// The pixels that tile `tile` reads at input depth `slice`, which may lie in the padding.
void Plan::FindPixels(const float* source, int64_t tile, int64_t slice, const float** pixels) const {
  const Problem& p = problem_;
  const int64_t column = tile % p.tiles_wide(), row = tile / p.tiles_wide() % p.tiles_high();
  const int64_t image = tile / p.tiles_wide() / p.tiles_high();
  // Where pixels are met twice, each is read once: the first one of a patch is met for the second time there.
  const int64_t step = p.method == Method::kDoubled ? 2 : 1, reach = p.sides.pixels * step;
  const int64_t top = row * p.sides.tile - p.pad_height - (step - 1);
  const int64_t left = column * p.sides.tile - p.pad_width - (step - 1);
  for (int64_t y = top; y < top + reach; y += step) {
    const bool inside = slice >= 0 && slice < p.depth && y >= 0 && y < p.height;
    const int64_t source_height = p.height / p.up_height, source_width = p.width / p.up_width;
    const int64_t source_row = (image * p.depth + slice) * source_height + y / p.up_height;
    const float* line = source + source_row * source_width * p.channels;
    for (int64_t x = left; x < left + reach; x += step)
      *pixels++ = inside && x >= 0 && x < p.width ? line + x / p.up_width * p.channels : zeros_.data();
  }
}

void Plan::Input(const Arrays& arrays, const Block& block, int64_t slice, int64_t tile) const {
  const float* pixels[kMaxPixels * kMaxPixels];
  FindPixels(arrays.source, block.tile + tile, block.slice + slice, pixels);
  float* v = block.v + slice * VSlice(block.tiles) + tile * problem_.channels;
  kernels_->input(pixels, problem_.channels, v, VDatum(block.tiles));
}

void Plan::Multiply(const Arrays& arrays, const Block& block, float* m, int64_t group, int64_t point) const {
  const Problem& p = problem_;
  const int64_t columns = GroupSize(group), tap_size = p.channels * std::min(kernels_->panel, columns);
  const float* b = arrays.packed + p.kernel_depth * p.channels * (p.points() * GroupStart(group) + point * columns);
  for (int64_t depth = 0; depth < block.depths; ++depth) {
    // Taps that fall into the padding add nothing; the others are neighbours.
    const int64_t first = (block.depth + depth) * p.stride_depth - p.pad_depth;
    int64_t tap = 0, end = p.kernel_depth;
    while (tap < end && first + tap * p.dilation_depth < 0) ++tap;
    while (end > tap && first + (end - 1) * p.dilation_depth >= p.depth) --end;
    Product product{};
    product.a = block.v + p.datum_at(point) * VDatum(block.tiles);
    if (tap < end) product.a += (first + tap * p.dilation_depth - block.slice) * VSlice(block.tiles);
    product.b = b + tap * tap_size;
    product.m = m + point * MPoint(block.depths * block.tiles, columns) + depth * block.tiles * columns;
    product.rows = block.tiles, product.channels = p.channels, product.columns = columns;
    product.a_row = p.channels, product.a_segment = p.dilation_depth * VSlice(block.tiles);
    product.b_panel = p.kernel_depth * p.channels * kernels_->panel;
    product.segments = end - tap;
    kernels_->multiply(product);
  }
}

void Plan::Output(const Arrays& arrays, const Block& block, const float* m, int64_t group, int64_t depth,
                  int64_t tile, const float** pixels) const {
  const Problem& p = problem_;
  const int64_t start = GroupStart(group), columns = GroupSize(group);
  const int64_t place = block.tile + tile, out_depth = block.depth + depth;
  const int64_t tile_side = p.sides.tile;
  const int64_t left = place % p.tiles_wide() * tile_side, top = place / p.tiles_wide() % p.tiles_high() * tile_side;
  const int64_t image = place / p.tiles_wide() / p.tiles_high();
  Tile out{};
  out.m = m + (depth * block.tiles + tile) * columns;
  out.m_point = MPoint(block.depths * block.tiles, columns);
  out.columns = columns;
  for (int64_t y = 0; y < tile_side; ++y)
    for (int64_t x = 0; x < tile_side; ++x) {
      const int64_t line = (image * p.out_depth + out_depth) * p.out_height + top + y;
      const bool inside = top + y < p.out_height && left + x < p.out_width;
      out.at[y * tile_side + x] = inside ? line * p.out_width + left + x : -1;
    }
  out.add_row = p.out_channels, out.result_row = p.result_row, out.to_next = tile_side * p.result_row;
  out.result = arrays.result + start;
  out.bias = p.bias ? arrays.bias + start : nullptr;
  out.add = p.add ? arrays.add + start : nullptr;
  out.relu = p.relu;
  const int64_t finished = kernels_->output(out, 0);
  if (finished == columns) return;

  for (int64_t tap = 0; tap < p.kernel_depth; ++tap)
    FindPixels(arrays.source, place, out_depth * p.stride_depth - p.pad_depth + tap * p.dilation_depth,
               pixels + tap * p.pixels_of_patch());
  const Direct direct{pixels, arrays.weights + start, p.kernel_depth, p.channels, p.out_channels};
  out.direct = &direct;
  kernels_->output(out, finished);
}

}  // namespace collage::winograd
