#include "text.h"

#include <charconv>
#include <set>
#include <utility>

namespace collage::program {
namespace {

constexpr size_t kMostArrays = 1 << 20;  // a number beyond it is a mistake, and would be allocated for

std::string_view TakeUntil(std::string_view* text, char end) {
  const size_t at = text->find(end);
  const std::string_view taken = text->substr(0, at);
  text->remove_prefix(at == std::string_view::npos ? text->size() : at + 1);
  return taken;
}

Array ParseArray(std::string_view token, size_t step) {
  const size_t kind = token.empty() ? std::string_view::npos : std::string_view("iot").find(token[0]);
  size_t number = 0;
  const char* const end = token.data() + token.size();
  if (kind != std::string_view::npos) {
    const auto [stop, error] = std::from_chars(token.data() + 1, end, number);
    if (error == std::errc() && stop == end && number < kMostArrays) return {static_cast<Array::Kind>(kind), number};
  }
  throw TextError("step " + std::to_string(step) + ": `" + std::string(token) + "` is no array, such as i0, o1 or t2");
}

}  // namespace

ProgramText ParseProgram(std::string_view text) {
  constexpr std::string_view kTimed = "timed\n";
  const bool timed = text.substr(0, kTimed.size()) == kTimed;
  if (timed) text.remove_prefix(kTimed.size());
  std::vector<StepText> steps;
  std::set<std::pair<int, size_t>> made;
  while (!text.empty()) {
    const size_t number = steps.size();
    std::string_view head = TakeUntil(&text, '\n');
    StepText step{};
    step.library = TakeUntil(&head, ' ');
    step.version = TakeUntil(&head, ' ');
    step.spec = TakeUntil(&text, '\n');
    step.result = ParseArray(TakeUntil(&head, ' '), number);
    while (!head.empty()) {
      const Array operand = ParseArray(TakeUntil(&head, ' '), number);
      if (operand.kind != Array::kInput && made.count({operand.kind, operand.number}) == 0)
        throw TextError("step " + std::to_string(number) + " reads an array that no earlier step makes");
      step.operands.push_back(operand);
    }
    if (step.result.kind == Array::kInput || !made.insert({step.result.kind, step.result.number}).second)
      throw TextError("step " + std::to_string(number) + " makes an array that there is already");
    steps.push_back(std::move(step));
  }
  return {timed, std::move(steps)};
}

}  // namespace collage::program
