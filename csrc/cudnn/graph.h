// Graphs of operations as cuDNN runs them: read from text, judged for a device that may not be here, and executed.
//
// cudnn-frontend's headers take a minute to compile, so that only graph.cc and build.cc include them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace collage::cudnn {

// A device as cuDNN takes it in place of a driver: its properties as JSON, and its architecture (80 for sm_80).
struct Device {
  std::string properties;
  int sm = 0;
};

// One way to run a graph: the engine with its settings, by the name that cuDNN gives it, and the bytes that it works in.
// Of several graphs one after another, the names of all and the bytes for all together.
struct Engine {
  std::string name;
  int64_t workspace = 0;
};

// Opens the library at `path`. All else throws std::runtime_error with cuDNN's reason if something cannot be done.
void Open(const std::string& path);
int64_t Version();

// The properties of a GPU of this computer, as JSON.
std::string PropertiesOf(int ordinal);

// The text of `spec` with every choice of cudnn-frontend filled in: its own JSON of each graph.
std::vector<std::string> Describe(std::string_view spec, const Device& device);

// The first `most` engines that can run `spec` on `device`, in the order in which cuDNN's heuristics expect them to be
// fast.
std::vector<Engine> Engines(std::string_view spec, const Device& device, int most);

// Builds the plans of the first of them as far as that goes without a driver.
void Build(std::string_view spec, const Device& device);

// Graphs with their plans on `device`, which is current in the calling thread. All plans on a device share a handle of
// cuDNN's, so that they are put on their streams one after another, whatever thread asks.
class Plan {
 public:
  // `engine` is the name of one of the Engines; plans with the same settings are looked for, then any that need no more
  // than `workspace` bytes.
  Plan(std::string_view spec, const std::string& engine, int64_t workspace, int device);
  ~Plan();

  // `pointers` are those of operands, then results, in the order in which the text has them.
  void Run(void* stream, const std::vector<void*>& pointers, void* workspace);

 private:
  struct Built;
  std::unique_ptr<Built> built_;
};

}  // namespace collage::cudnn
