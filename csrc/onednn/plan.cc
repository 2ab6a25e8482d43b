#include "plan.h"

#include "../scratch.h"
#include "library.h"
#include "post_ops.h"

namespace collage::onednn {
namespace {

ffi::DataType FfiType(dnnl::memory::data_type type) {
  using dnnl_type = dnnl::memory::data_type;
  switch (type) {
    case dnnl_type::f32: return ffi::DataType::F32;
    case dnnl_type::bf16: return ffi::DataType::BF16;
    case dnnl_type::f16: return ffi::DataType::F16;
    case dnnl_type::s32: return ffi::DataType::S32;
    case dnnl_type::s8: return ffi::DataType::S8;
    default: return ffi::DataType::U8;
  }
}

}  // namespace

Plan::Place Plan::Scratch(size_t bytes) {
  const Place place{Place::kScratch, scratch_bytes_};
  scratch_bytes_ += AlignUp(bytes);
  return place;
}

void Plan::AddReorder(const Argument& from, const Argument& to, bool copies_sum) {
  const dnnl::reorder::primitive_desc reorder(CpuEngine(), from.desc, CpuEngine(), to.desc, PlainAttributes());
  Step step{dnnl::primitive(reorder.get()),
            {{DNNL_ARG_FROM, from.place, from.desc}, {DNNL_ARG_TO, to.place, to.desc}},
            copies_sum};
  if (auto scratchpad = reorder.scratchpad_desc(); scratchpad.get_size() > 0)
    step.arguments.push_back({DNNL_ARG_SCRATCHPAD, Scratch(scratchpad.get_size()), scratchpad});
  steps_.push_back(std::move(step));
}

Plan::Buffer Plan::Expect(const Tensor& tensor) {
  if (tensor.packed) return {ffi::DataType::U8, tensor.given.get_size(), true};
  const size_t span = SpanBytes(tensor.given);
  // Strides may leave gaps, and then only the last element's place is known: the buffer may go on behind it.
  return {FfiType(tensor.given.get_data_type()), span, span == DenseBytes(tensor.given)};
}

Plan::Plan(const Recipe& recipe)
    : op_(recipe.op),
      threads_(recipe.threads),
      keep_nan_(recipe.keep_nan),
      finish_(recipe.finish),
      result_type_(recipe.result.given.get_data_type()),
      result_(Expect(recipe.result)) {
  const ThreadLimit limit(threads_);
  Step main{dnnl::primitive(recipe.primitive.get()), {}};

  for (const Tensor& tensor : recipe.operands) {
    const Argument given{tensor.arg, {Place::kOperand, operands_.size()}, tensor.given};
    operands_.push_back(Expect(tensor));
    if (tensor.given == tensor.wanted) {
      main.arguments.push_back(given);
    } else {
      main.arguments.push_back({tensor.arg, Scratch(tensor.wanted.get_size()), tensor.wanted});
      AddReorder(given, main.arguments.back(), false);
    }
  }

  const Argument given_result{recipe.result.arg, {Place::kResult}, recipe.result.given};
  const bool in_place = recipe.result.given == recipe.result.wanted;
  const Argument result = in_place ? given_result
                                   : Argument{recipe.result.arg, Scratch(recipe.result.wanted.get_size()),
                                              recipe.result.wanted};
  main.arguments.push_back(result);
  if (recipe.has_sum) {
    AddReorder({0, {Place::kOperand, operands_.size()}, recipe.result.given}, result, in_place);
    sum_at_ = operands_.size();
    operands_.push_back(result_);
  }
  if (finish_.kind == Finish::kGate) operands_.push_back(result_);
  if (auto scratchpad = recipe.primitive.scratchpad_desc(); scratchpad.get_size() > 0)
    main.arguments.push_back({DNNL_ARG_SCRATCHPAD, Scratch(scratchpad.get_size()), scratchpad});

  steps_.push_back(std::move(main));
  if (!in_place) AddReorder(result, given_result, false);
}

void Plan::Check(const std::vector<ffi::AnyBuffer>& operands, const ffi::AnyBuffer& result) const {
  auto refuse = [this](const std::string& why) { throw SpecError("oneDNN op=" + op_ + ": " + why); };
  auto check = [&](const std::string& what, const ffi::AnyBuffer& buffer, const Buffer& expected) {
    if (buffer.element_type() != expected.type) refuse(what + " does not have the spec's element type");
    const size_t bytes = buffer.size_bytes();
    if (expected.exactly ? bytes == expected.bytes : bytes >= expected.bytes) return;
    refuse(what + " has " + std::to_string(bytes) + " bytes, the spec says " + (expected.exactly ? "" : "at least ") +
           std::to_string(expected.bytes));
  };
  if (operands.size() != operands_.size())
    refuse("got " + std::to_string(operands.size()) + " operands, the spec says " + std::to_string(operands_.size()));
  for (size_t i = 0; i < operands.size(); ++i) check("operand " + std::to_string(i), operands[i], operands_[i]);
  check("the result", result, result_);
}

std::unique_ptr<Plan::Frame> Plan::TakeFrame() const {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto frame = std::move(idle_.back());
      idle_.pop_back();
      return frame;
    }
  }
  auto frame = std::make_unique<Frame>();
  for (const Step& step : steps_) {
    auto& arguments = frame->arguments.emplace_back();
    for (const Argument& argument : step.arguments) {
      frame->memories.push_back(dnnl::memory(argument.desc, CpuEngine(), DNNL_MEMORY_NONE));
      arguments.push_back({argument.name, frame->memories.back().get()});
    }
  }
  return frame;
}

void Plan::GiveBack(std::unique_ptr<Frame> frame) const {
  std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(frame));
}

std::vector<size_t> Plan::OperandBytes() const {
  std::vector<size_t> bytes;
  for (const Buffer& buffer : operands_) bytes.push_back(buffer.bytes);
  return bytes;
}

void Plan::Run(const void* const* operands, void* result, dnnl_stream_t stream) const {
  std::byte* const scratch = ThreadScratch(scratch_bytes_);
  auto address = [&](const Place& place) -> void* {
    switch (place.kind) {
      case Place::kOperand: return const_cast<void*>(operands[place.at]);  // the library has no const memory
      case Place::kResult: return result;
      default: return scratch + place.at;
    }
  };

  auto frame = TakeFrame();
  const ThreadLimit limit(threads_);
  size_t memory = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    for (const Argument& argument : step.arguments)
      frame->memories[memory++].set_data_handle(address(argument.place));
    if (step.copies_sum && operands[sum_at_] == result) continue;
    const auto& arguments = frame->arguments[i];
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(step.primitive.get(), stream, static_cast<int>(arguments.size()), arguments.data()),
        "could not execute a primitive");
  }
  dnnl::error::wrap_c_api(dnnl_stream_wait(stream), "could not wait for a primitive");
  RunKeepNan(keep_nan_, operands[0], result);
  RunFinish(finish_, result_type_, result, result_.bytes, operands[operands_.size() - 1]);
  GiveBack(std::move(frame));
}

}  // namespace collage::onednn
