#include "program.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <new>

namespace collage::program {
namespace {

struct Libraries {
  std::mutex mutex;
  std::map<std::string, StepMaker, std::less<>> makers;
};

Libraries& AllLibraries() {
  static auto* libraries = new Libraries;  // never destroyed: a thread of XLA's may outlive the process's end
  return *libraries;
}

std::unique_ptr<Step> MakeStep(const StepText& text) {
  Libraries& libraries = AllLibraries();
  StepMaker maker = nullptr;
  {
    std::lock_guard<std::mutex> lock(libraries.mutex);
    if (auto found = libraries.makers.find(text.library); found != libraries.makers.end()) maker = found->second;
  }
  if (maker == nullptr) throw TextError("the library `" + std::string(text.library) + "` is not loaded");
  return maker(text.spec, text.version);
}

size_t& At(std::vector<size_t>* sizes, size_t number) {
  if (number >= sizes->size()) sizes->resize(number + 1, 0);
  return (*sizes)[number];
}

}  // namespace

void RegisterLibrary(const std::string& library, StepMaker maker) {
  std::lock_guard<std::mutex> lock(AllLibraries().mutex);
  AllLibraries().makers[library] = maker;
}

Program::Program(std::string_view text) {
  std::vector<Lifetime> lifetimes;
  // The bytes of an array: what its step makes, and of an input the most that a step reads.
  std::map<std::pair<int, size_t>, size_t> made;
  const ProgramText program_text = ParseProgram(text);
  timed_ = program_text.timed;
  for (const StepText& step_text : program_text.steps) {
    const size_t number = stages_.size();
    const std::string name = "step " + std::to_string(number) + " (" + std::string(step_text.library) + ": " +
                             std::string(step_text.spec.substr(0, step_text.spec.find(' '))) + ")";
    Stage stage{MakeStep(step_text), name, step_text.result, step_text.operands};
    const std::vector<size_t> wanted = stage.step->OperandBytes();
    if (wanted.size() != stage.operands.size())
      throw TextError(name + " takes " + std::to_string(wanted.size()) + " arrays, got " +
                      std::to_string(stage.operands.size()));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const Array& operand = stage.operands[i];
      if (operand.kind == Array::kInput) {
        size_t& bytes = At(&input_bytes_, operand.number);
        bytes = std::max(bytes, wanted[i]);
        continue;
      }
      if (const size_t bytes = made.at({operand.kind, operand.number}); bytes < wanted[i])
        throw TextError(name + " reads " + std::to_string(wanted[i]) + " bytes of an array of " +
                        std::to_string(bytes));
      if (operand.kind == Array::kTemporary) lifetimes[operand.number].last = number;
    }
    const Array& result = stage.result;
    size_t& bytes = made[{result.kind, result.number}];
    const bool is_new = bytes == 0;
    bytes = std::max(bytes, result.offset + stage.step->ResultBytes());
    if (result.kind == Array::kOutput) {
      At(&output_bytes_, result.number) = bytes;
    } else {
      if (result.number >= lifetimes.size()) lifetimes.resize(result.number + 1);
      lifetimes[result.number] = {bytes, is_new ? number : lifetimes[result.number].first, number};
    }
    most_operands_ = std::max(most_operands_, wanted.size());
    stages_.push_back(std::move(stage));
  }
  Layout layout = Arrange(lifetimes);
  offsets_ = std::move(layout.offsets);
  arena_ = std::make_unique<Arena>(layout.bytes);
}

void Program::Run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                  float* microseconds) const {
  using Clock = std::chrono::steady_clock;
  const Arena::Loan memory(arena_.get());
  auto address = [&](const Array& array) -> void* {
    switch (array.kind) {
      case Array::kInput: return const_cast<void*>(inputs[array.number]);  // only ever read
      case Array::kOutput: return outputs[array.number];
      default: return memory.data() + offsets_[array.number];
    }
  };
  std::vector<const void*> operands(most_operands_);
  for (const Stage& stage : stages_) {
    for (size_t i = 0; i < stage.operands.size(); ++i) operands[i] = address(stage.operands[i]);
    try {
      const Clock::time_point begin = microseconds == nullptr ? Clock::time_point() : Clock::now();
      stage.step->Run(operands.data(), static_cast<std::byte*>(address(stage.result)) + stage.result.offset);
      if (microseconds != nullptr)
        *microseconds++ = std::chrono::duration<float, std::micro>(Clock::now() - begin).count();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(stage.name + ": " + error.what());
    }
  }
}

}  // namespace collage::program
