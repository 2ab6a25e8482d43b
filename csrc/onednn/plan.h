// A recipe made executable. Const once built: any number of threads may run the same plan.
#pragma once

#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../ffi_state.h"
#include "recipe.h"

namespace collage::onednn {

class Plan : public FfiState<Plan> {
 public:
  explicit Plan(const Recipe& recipe);

  const std::string& op() const { return op_; }
  int threads() const { return threads_; }  // at most; 0: all there are

  // Throws unless the buffers of a call are what the spec said.
  void Check(const std::vector<ffi::AnyBuffer>& operands, const ffi::AnyBuffer& result) const;

  std::vector<size_t> OperandBytes() const;
  size_t ResultBytes() const { return result_.bytes; }

  void Run(const void* const* operands, void* result, dnnl_stream_t stream) const;

 private:
  // Where a memory's bytes are during a call: the operand or scratch offset `at`, or the result.
  struct Place {
    enum Kind { kOperand, kResult, kScratch } kind;
    size_t at = 0;
  };
  struct Argument {
    int name;  // DNNL_ARG_*
    Place place;
    dnnl::memory::desc desc;
  };
  struct Step {
    dnnl::primitive primitive;
    std::vector<Argument> arguments;
    bool copies_sum = false;  // nothing to do if XLA gave the operand's own buffer to the result
  };
  // The library's objects for one execution in flight. They are kept and reused, for making them allocates.
  struct Frame {
    std::vector<dnnl::memory> memories;                // of all steps, in order
    std::vector<std::vector<dnnl_exec_arg_t>> arguments;  // per step
  };
  struct Buffer {  // what a call must bring
    ffi::DataType type;
    size_t bytes;
    bool exactly;  // else: at least
  };

  Place Scratch(size_t bytes);
  void AddReorder(const Argument& from, const Argument& to, bool copies_sum);
  static Buffer Expect(const Tensor& tensor);
  std::unique_ptr<Frame> TakeFrame() const;
  void GiveBack(std::unique_ptr<Frame> frame) const;

  std::string op_;
  int threads_;
  KeepNan keep_nan_;
  Finish finish_;
  size_t sum_at_ = 0;  // among the operands, if one is summed into
  dnnl::memory::data_type result_type_;
  std::vector<Buffer> operands_;
  Buffer result_;
  std::vector<Step> steps_;
  size_t scratch_bytes_ = 0;

  mutable std::mutex mutex_;  // of the idle frames only
  mutable std::vector<std::unique_ptr<Frame>> idle_;
};

}  // namespace collage::onednn
