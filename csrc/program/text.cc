#include "text.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

namespace collage::program {
namespace {

constexpr size_t kMostArrays = 1 << 20;  // a number beyond it is a mistake, and would be allocated for
constexpr size_t kMostBytes = size_t{1} << 42;

std::string_view TakeUntil(std::string_view* text, char end) {
  const size_t at = text->find(end);
  const std::string_view taken = text->substr(0, at);
  text->remove_prefix(at == std::string_view::npos ? text->size() : at + 1);
  return taken;
}

bool TakeNumber(std::string_view* text, size_t* number) {
  const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  text->remove_prefix(stop - text->data());
  return error == std::errc();
}

Array ParseArray(std::string_view token, size_t step) {
  const size_t kind = token.empty() ? std::string_view::npos : std::string_view("iot").find(token[0]);
  std::string_view rest = token.substr(std::min<size_t>(token.size(), 1));
  Array array{};
  if (kind != std::string_view::npos && TakeNumber(&rest, &array.number) && array.number < kMostArrays) {
    array.kind = static_cast<Array::Kind>(kind);
    array.is_part = !rest.empty() && rest[0] == '+';
    if (array.is_part) {
      rest.remove_prefix(1);
      if (!TakeNumber(&rest, &array.offset) || array.offset > kMostBytes) rest = token;
    }
    if (rest.empty()) return array;
  }
  throw TextError("step " + std::to_string(step) + ": `" + std::string(token) +
                  "` is no array, such as i0, o1, t2 or a part of one, t2+64");
}

}  // namespace

ProgramText ParseProgram(std::string_view text) {
  constexpr std::string_view kTimed = "timed\n";
  const bool timed = text.substr(0, kTimed.size()) == kTimed;
  if (timed) text.remove_prefix(kTimed.size());
  std::vector<StepText> steps;
  std::map<std::pair<int, size_t>, bool> made;  // whether in parts
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
      if (operand.is_part || (operand.kind != Array::kInput && made.count({operand.kind, operand.number}) == 0))
        throw TextError("step " + std::to_string(number) + " reads an array that no earlier step makes");
      step.operands.push_back(operand);
    }
    const auto [place, is_new] = made.insert({{step.result.kind, step.result.number}, step.result.is_part});
    if (step.result.kind == Array::kInput || (!is_new && !(place->second && step.result.is_part)))
      throw TextError("step " + std::to_string(number) + " makes an array that there is already");
    steps.push_back(std::move(step));
  }
  return {timed, std::move(steps)};
}

}  // namespace collage::program
