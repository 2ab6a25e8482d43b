// All rows of a task, in steps as equal as can be: short ones use the registers badly. Included once per instruction
// set, inside its namespace, after multiply.h.

using StepKernel = void (*)(const Task&);

template <int Columns, size_t... Rows>
constexpr std::array<StepKernel, sizeof...(Rows)> StepKernels(std::index_sequence<Rows...>) {
  return {&MultiplyStep<static_cast<int>(Rows) + 1, Columns>...};
}

template <int Columns>
void MultiplyColumns(const Task& task) {
  static constexpr auto kernels = StepKernels<Columns>(std::make_index_sequence<Vec::kRows>());
  if (task.rows <= Vec::kRows) return kernels[task.rows - 1](task);
  const int64_t steps = (task.rows + Vec::kRows - 1) / Vec::kRows;
  Task t = task;
  for (int64_t step = 0, left = task.rows; step < steps; ++step) {
    const int64_t rows = left / (steps - step);
    kernels[rows - 1](t);
    left -= rows;
    t.a += rows * t.a_row;
    t.partial += rows * kPanel;
    t.next += t.depth * t.next_elements;
    t.result += rows * t.result_row;
    if (t.add != nullptr) t.add += rows * t.add_row;
  }
}

void MultiplyBlock(const Task& task) {
  task.columns > Vec::kLanes ? MultiplyColumns<2>(task) : MultiplyColumns<1>(task);
}

void MultiplyAll(const Task& task) {
  constexpr int64_t kBlock = 2 * Vec::kLanes;
  if (task.columns <= kBlock) return MultiplyBlock(task);
  Task t = task;
  for (int64_t column = 0; column < task.columns; column += kBlock) {
    t.b = task.b + column;
    t.partial = task.partial + column;
    t.result = task.result + column;
    t.columns = std::min(task.columns - column, kBlock);
    if (task.bias != nullptr) t.bias = task.bias + column;
    if (task.add != nullptr) t.add = task.add + column;
    MultiplyBlock(t);
  }
}

constexpr Kernels kKernels = {Vec::kRows, MultiplyAll};
