// The matrix product: a few rows of `a` and all columns of a block of `b`, with every sum in a register. Included once
// per instruction set, inside its namespace, after `Vec`.

// So many products are summed in a row, and then those sums: the error grows with the root of the number of summands,
// and fewer at a time keep it small. The part of `b` in use also fits into the fastest cache then.
constexpr int64_t kSummands = 64;

// Columns that a step multiplies at once: they lie together.
constexpr int64_t kPanel = Vec::kColumns * Vec::kLanes;

// As many sums as there are registers besides those for a row of `b` and an element of `a`.
template <int Columns>
constexpr int kMaxRows = Vec::kSums / Columns < 8 ? Vec::kSums / Columns : 8;

struct Part {
  const float* b;  // at the first column
  int64_t b_row;
  int64_t row, column, channel, channels;  // the first row, column and channel
};

template <int Rows, int Columns>  // of vectors
void Multiply(const Product& p, const Part& part) {
  Vec::T sums[Rows][Columns];
#pragma GCC unroll 16
  for (auto& sum_row : sums)
#pragma GCC unroll 16
    for (auto& sum : sum_row) sum = Vec::All(0);

  for (int64_t segment = 0; segment < p.segments; ++segment) {
    const float* a = p.a + segment * p.a_segment + part.row * p.a_row + part.channel;
    const float* b = part.b + (segment * p.channels + part.channel) * part.b_row;
#pragma GCC unroll 2
    for (int64_t c = 0; c < part.channels; ++c, ++a, b += part.b_row) {
      __builtin_prefetch(b + 16 * part.b_row, 0, 3);
      Vec::T b_row[Columns];
#pragma GCC unroll 16
      for (int j = 0; j < Columns; ++j) b_row[j] = Vec::Load(b + j * Vec::kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const Vec::T element = Vec::All(a[i * p.a_row]);
#pragma GCC unroll 16
        for (int j = 0; j < Columns; ++j) sums[i][j] = Vec::MulAdd(element, b_row[j], sums[i][j]);
      }
    }
  }

  float* m = p.m + part.row * p.columns + part.column;
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < Columns; ++j) {
      float* to = m + i * p.columns + j * Vec::kLanes;
      Vec::Store(to, part.channel > 0 ? sums[i][j] + Vec::Load(to) : sums[i][j]);
    }
}

using MultiplyRows = void (*)(const Product&, const Part&);

template <int Columns, size_t... Rows>
constexpr std::array<MultiplyRows, sizeof...(Rows)> RowKernels(std::index_sequence<Rows...>) {
  return {&Multiply<static_cast<int>(Rows) + 1, Columns>...};
}

// All rows of one block of columns, in steps as equal as can be: short ones use the registers badly.
template <int Columns>
void MultiplyColumns(const Product& p, int64_t column) {
  static constexpr auto kernels = RowKernels<Columns>(std::make_index_sequence<kMaxRows<Columns>>());
  const int64_t before = column % kPanel;
  const float* b = p.b + (column / kPanel) * p.b_panel + before;
  const int64_t b_row = std::min<int64_t>(kPanel, p.columns - (column - before));
  const int64_t steps = (p.rows + kMaxRows<Columns> - 1) / kMaxRows<Columns>;
  const int64_t most = std::max(kSummands / std::max<int64_t>(p.segments, 1), int64_t{kVector});
  for (int64_t channel = 0; channel < p.channels; channel += most)
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t row = p.rows * step / steps, end = p.rows * (step + 1) / steps;
      kernels[end - row - 1](p, {b, b_row, row, column, channel, std::min(most, p.channels - channel)});
    }
}

void MultiplyAll(const Product& p) {
  constexpr int kMost = Vec::kColumns;
  int64_t column = 0;
  for (; column + kMost * Vec::kLanes <= p.columns; column += kMost * Vec::kLanes) MultiplyColumns<kMost>(p, column);
  if constexpr (kMost > 3)
    if (p.columns - column == 3 * Vec::kLanes) MultiplyColumns<3>(p, column);
  if constexpr (kMost > 2)
    if (p.columns - column == 2 * Vec::kLanes) MultiplyColumns<2>(p, column);
  if constexpr (kMost > 1)
    if (p.columns - column == Vec::kLanes) MultiplyColumns<1>(p, column);
}
