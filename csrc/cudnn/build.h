// Text -> cudnn-frontend's graph.
#pragma once

#include <cudnn_frontend.h>

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

// Throws std::runtime_error for a text that describes no graph. With `device` the graph is for one that need not be here.
std::unique_ptr<Graph> Parse(std::string_view spec, const Device* device = nullptr);

// Throws what cuDNN says if `status` is bad.
void Check(fe::error_t status);

}  // namespace collage::cudnn
