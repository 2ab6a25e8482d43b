// Many kernels as one: a program's steps run one after the other on the calling thread and on the threads that each
// kernel brings. Const once built, but for its idle memory: any number of threads may run the same program.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../step.h"
#include "arena.h"
#include "text.h"

namespace collage::program {

class Program {
 public:
  explicit Program(std::string_view text);

  // Bytes that the buffers of a call hold at least.
  const std::vector<size_t>& input_bytes() const { return input_bytes_; }
  const std::vector<size_t>& output_bytes() const { return output_bytes_; }

  bool is_timed() const { return timed_; }
  size_t steps() const { return stages_.size(); }

  // `microseconds` is null, or has room for a number for each step.
  void Run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, float* microseconds) const;

 private:
  struct Stage {
    std::unique_ptr<Step> step;
    std::string name;  // for errors
    Array result;
    std::vector<Array> operands;
  };

  bool timed_;
  std::vector<Stage> stages_;
  std::vector<size_t> input_bytes_, output_bytes_, offsets_;  // of the temporaries in the arena
  size_t most_operands_ = 0;
  std::unique_ptr<Arena> arena_;
};

// Makes the kernels of `library` known. Once for each.
void RegisterLibrary(const std::string& library, StepMaker maker);

}  // namespace collage::program
