// The matrix product: a few rows of `a` and all columns of a block of `b`, with every sum in a register. Included once
// per instruction set, inside its namespace, after `Vec`.

// As many sums as there are registers besides those for a row of `b` and an element of `a`.
template <int Columns>
constexpr int kMaxRows = Vec::kSums / Columns < 8 ? Vec::kSums / Columns : 8;

template <int Rows, int Columns>  // of vectors
void Multiply(const Product& p, int64_t row, int64_t column) {
  Vec::T sums[Rows][Columns];
#pragma GCC unroll 16
  for (auto& sum_row : sums)
#pragma GCC unroll 16
    for (auto& sum : sum_row) sum = Vec::All(0);

  for (int64_t segment = 0; segment < p.segments; ++segment) {
    const float* a = p.a + segment * p.a_segment + row * p.a_row;
    const float* b = p.b + segment * p.channels * p.columns + column;
#pragma GCC unroll 2
    for (int64_t c = 0; c < p.channels; ++c, ++a, b += p.columns) {
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

  float* m = p.m + row * p.columns + column;
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < Columns; ++j) Vec::Store(m + i * p.columns + j * Vec::kLanes, sums[i][j]);
}

using MultiplyRows = void (*)(const Product&, int64_t row, int64_t column);

template <int Columns, size_t... Rows>
constexpr std::array<MultiplyRows, sizeof...(Rows)> RowKernels(std::index_sequence<Rows...>) {
  return {&Multiply<static_cast<int>(Rows) + 1, Columns>...};
}

// All rows of one block of columns, in steps as equal as can be: short ones use the registers badly.
template <int Columns>
void MultiplyColumns(const Product& p, int64_t column) {
  static constexpr auto kernels = RowKernels<Columns>(std::make_index_sequence<kMaxRows<Columns>>());
  const int64_t steps = (p.rows + kMaxRows<Columns> - 1) / kMaxRows<Columns>;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t first = p.rows * step / steps, end = p.rows * (step + 1) / steps;
    kernels[end - first - 1](p, first, column);
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
