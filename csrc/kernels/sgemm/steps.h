// All rows of a task, in steps as equal as can be: short ones use the registers badly. Included once per instruction
// set, inside its namespace, after multiply.h and transpose.h.

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
    t.partial += rows * kMostPanel;
    t.next += t.depth * t.next_elements;
    t.result += rows * t.result_row;
    if (t.add != nullptr) t.add += rows * t.add_row;
    if (t.gate != nullptr) t.gate += rows * t.add_row;
  }
}

void MultiplyAll(const Task& task) {
  task.columns > Vec::kLanes ? MultiplyColumns<2>(task) : MultiplyColumns<1>(task);
}

// A panel has as many columns as a step: what a step reads of it then lies together.
constexpr Kernels kKernels = {Vec::kRows, 2 * Vec::kLanes, MultiplyAll, Transpose};
