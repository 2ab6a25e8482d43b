#include "mark.h"

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

namespace collage::cuda {
namespace {

// Never destroyed: a thread of XLA's may outlive the process's end.
struct Table {
  std::mutex mutex;
  std::map<int64_t, std::unique_ptr<Timer>> timers;
};

Table& TheTable() {
  static auto* table = new Table;
  return *table;
}

// Has `context` be this thread's current one: a thread of Python's has none, and one of XLA's need not have.
class Entered {
 public:
  Entered(const Driver& driver, Context context) : driver_(driver) {
    Check(driver, driver.cuCtxPushCurrent_v2(context), "entering a CUDA context");
  }
  ~Entered() {
    Context context = nullptr;
    driver_.cuCtxPopCurrent_v2(&context);
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  const Driver& driver_;
};

Timer::Which Parsed(std::string_view which) {
  if (which == "flush" || which == "begin") return Timer::kBegin;
  if (which == "end") return Timer::kEnd;
  throw std::invalid_argument("a mark is a flush, a begin or an end, got `" + std::string(which) + "`");
}

int64_t Checked(int64_t number) {
  if (number >= 0) return number;
  throw std::invalid_argument("a timer has a number of 0 or more, got " + std::to_string(number));
}

}  // namespace

Timer& TimerOf(int64_t number) {
  std::lock_guard<std::mutex> lock(TheTable().mutex);
  auto& timer = TheTable().timers[Checked(number)];
  if (!timer) timer = std::make_unique<Timer>();
  return *timer;
}

void Timer::Record(const Driver& driver, Which which, Stream stream, Context context) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (context_ == nullptr) {
    for (Event& event : events_) Check(driver, driver.cuEventCreate(&event, kTimingEvent), "making an event");
    context_ = context;
  }
  if (context != context_) throw std::runtime_error("a timer is for one device, and this program runs on another");
  if (which == kBegin) recorded_ = {};
  if (which == kEnd && !recorded_[kBegin])
    throw std::runtime_error("the end mark of a timer came before its begin mark");
  Check(driver, driver.cuEventRecord(events_[which], stream), "recording an event");
  recorded_[which] = true;
}

double Timer::ElapsedUs(const Driver& driver) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool is_complete = recorded_[kBegin] && recorded_[kEnd];
  recorded_ = {};
  if (!is_complete) throw std::runtime_error("there is no time to tell: no program with the timer's marks has run");
  Entered entered(driver, context_);
  float milliseconds = 0;
  Check(driver, driver.cuEventSynchronize(events_[kEnd]), "waiting for an event");
  Check(driver, driver.cuEventElapsedTime(&milliseconds, events_[kBegin], events_[kEnd]), "comparing two events");
  return 1e3 * static_cast<double>(milliseconds);
}

Mark::Mark(int64_t number, std::string_view which)
    : timer_(TimerOf(number)), is_flush_(which == "flush"), which_(Parsed(which)) {}

void Mark::Put(const Driver& driver, Stream stream, void* result, size_t bytes) const {
  Context context = nullptr;
  Check(driver, driver.cuStreamGetCtx(stream, &context), "asking a stream for its CUDA context");
  Entered entered(driver, context);
  if (!is_flush_) return timer_.Record(driver, which_, stream, context);
  Check(driver, driver.cuMemsetD8Async(reinterpret_cast<Address>(result), 0, bytes, stream), "writing over the cache");
}

}  // namespace collage::cuda
