// A step: a few rows and one or two vectors of columns, with every sum in a register. Included once per instruction
// set, inside its namespace, after `Vec`.

// Does `function(i, j)` for all sums of a step.
template <int Rows, int Columns, typename Function>
INLINE void ForEach(Function&& function) {
#pragma GCC unroll 2
  for (int j = 0; j < Columns; ++j)
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) function(i, j);
}

template <int Rows, int Columns>
INLINE void Finish(const Task& t, Vec::T (&sums)[Rows][Columns]) {
  const Lanes<Columns> lanes(t.columns);
  const float* add = t.add;
  float* result = t.result;
  const int64_t add_row = t.add_row, row = t.result_row;
  const Vec::T floor = Vec::All(t.tail->floor);
  const Vec::T low = Vec::All(t.tail->low), high = Vec::All(t.tail->high);
  if (t.tail->has_scale) {
    const Vec::T scale = Vec::All(t.tail->scale);
    ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = sums[i][j] * scale; });
  }
  if (t.bias != nullptr) {
    Vec::T bias[Columns];
#pragma GCC unroll 2
    for (int j = 0; j < Columns; ++j) bias[j] = lanes.Load(t.bias, j);
    ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = sums[i][j] + bias[j]; });
  }
  if (t.tail->has_floor) ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = Vec::Max(floor, sums[i][j]); });
  if (add != nullptr)
    ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = sums[i][j] + lanes.Load(add + i * add_row, j); });
  if (t.tail->has_low) ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = Vec::Max(low, sums[i][j]); });
  if (t.tail->has_high) ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = Vec::Min(high, sums[i][j]); });
  if (t.gate != nullptr)
    ForEach<Rows, Columns>(
        [&](int i, int j) { sums[i][j] = Vec::Gate(lanes.Load(t.gate + i * add_row, j), sums[i][j]); });
  ForEach<Rows, Columns>([&](int i, int j) { lanes.Store(result + i * row, j, sums[i][j]); });
}

template <int Rows, int Columns>
void MultiplyStep(const Task& t) {
  Vec::T sums[Rows][Columns];
  ForEach<Rows, Columns>([&](int i, int j) { sums[i][j] = Vec::All(0); });
  if (t.prefetches) {
    ForEach<Rows, Columns>([&](int i, int j) { __builtin_prefetch(t.result + i * t.result_row + j * Vec::kLanes, 1); });
    for (const float* other : {t.add, t.gate})
      if (other != nullptr)
        ForEach<Rows, Columns>([&](int i, int j) { __builtin_prefetch(other + i * t.add_row + j * Vec::kLanes); });
  }

  Elements elements(t.a, t.a_row);
  const float *b = t.b, *next = t.next;
  // What only counts and points takes the place of products.
#pragma GCC unroll 4
  for (int64_t left = t.depth; left > 0; --left, elements.Next(), b += t.width, next += t.next_elements) {
    __builtin_prefetch(next, 0, 2);
    Vec::T b_row[Columns];
#pragma GCC unroll 2
    for (int j = 0; j < Columns; ++j) b_row[j] = Vec::Load(b + j * Vec::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vec::T element = elements.At(i);
#pragma GCC unroll 2
      for (int j = 0; j < Columns; ++j) sums[i][j] = Vec::MulAdd(element, b_row[j], sums[i][j]);
    }
  }

  float* partial = t.partial;
  if (!t.first)
    ForEach<Rows, Columns>([&](int i, int j) {
      sums[i][j] = sums[i][j] + Vec::Load(partial + i * kMostPanel + j * Vec::kLanes);
    });
  if (t.last) return Finish(t, sums);
  ForEach<Rows, Columns>([&](int i, int j) { Vec::Store(partial + i * kMostPanel + j * Vec::kLanes, sums[i][j]); });
}
