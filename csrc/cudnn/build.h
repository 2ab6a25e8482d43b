// Text -> cudnn-frontend's graph.
#pragma once

#include <cudnn_frontend.h>

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "graph.h"

namespace collage::cudnn {

namespace fe = cudnn_frontend;

// A graph whose plans can be looked at one by one.
class Graph final : public fe::graph::Graph {
 public:
  // Uids of operands, then of results.
  std::vector<int64_t> uids;

  fe::error_t CheckEngine(int64_t index) { return plans.check_support_at_index(index); }

  // The bytes that engine `index` works in. The engine is out of question for this graph afterwards: frontends tell the
  // size of a plan that is built, which takes a driver, or of one that they refuse for its size.
  int64_t MeasureEngine(int64_t index);
};

// Graphs that run one after another on one stream.
struct Program {
  std::vector<std::unique_ptr<Graph>> stages;
  // Uids of operands, then of results, of all of them together.
  std::vector<int64_t> uids;
  // Where in the workspace the arrays lie that go from stage to stage, by uid, and how many bytes they take.
  std::map<int64_t, int64_t> scratch;
  int64_t scratch_bytes = 0;
};

// Throws std::runtime_error for a text that describes no graph. With `device` it is for one that need not be here.
Program Parse(std::string_view spec, const Device* device = nullptr);

// Throws what cuDNN says if `status` is bad.
void Check(fe::error_t status);

}  // namespace collage::cudnn
