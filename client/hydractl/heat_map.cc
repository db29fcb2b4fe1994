#include "client/hydractl/heat_map.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace hydrad {
namespace {

// From empty to full; each fills one column of a terminal.
constexpr std::array kShades = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};

const char* Shade(float value) {
  const float clamped = std::isfinite(value) ? std::clamp(value, 0.f, 1.f) : 0;
  return kShades[static_cast<size_t>(std::lround(clamped * (kShades.size() - 1)))];
}

std::vector<float> MeanOf(const v1::Routing::Router& router) {
  return {router.mean().begin(), router.mean().end()};
}

}  // namespace

std::vector<HeatRow> LayerRows(const v1::Routing& routing) {
  struct Sum {
    std::vector<float> values;
    int routers = 0;
  };
  std::map<int, Sum> layers;
  for (const v1::Routing::Router& router : routing.routers()) {
    Sum& sum = layers[router.layer()];
    if (sum.routers == 0) sum.values.resize(static_cast<size_t>(router.mean_size()));
    if (router.mean_size() != static_cast<int>(sum.values.size())) continue;
    for (int e = 0; e < router.mean_size(); ++e) sum.values[static_cast<size_t>(e)] += router.mean(e);
    ++sum.routers;
  }
  std::vector<HeatRow> rows;
  for (auto& [layer, sum] : layers) {
    for (float& value : sum.values) value /= static_cast<float>(sum.routers);
    rows.push_back({std::to_string(layer), std::move(sum.values)});
  }
  return rows;
}

std::vector<HeatRow> RouterRows(const v1::Routing& routing) {
  std::vector<HeatRow> rows;
  for (const v1::Routing::Router& router : routing.routers()) {
    rows.push_back({fmt::format("{} {}", router.layer(), router.projection()), MeanOf(router)});
  }
  return rows;
}

std::string DrawHeatMap(const std::vector<HeatRow>& rows) {
  size_t width = 5, columns = 0;  // of "layer"
  for (const HeatRow& row : rows) {
    width = std::max(width, row.label.size());
    columns = std::max(columns, row.values.size());
  }
  std::string text = fmt::format("{:<{}}", "layer", width);
  for (size_t c = 0; c < columns; ++c) text += fmt::format("  {:>6}", c);
  text += '\n';
  for (const HeatRow& row : rows) {
    text += fmt::format("{:<{}}", row.label, width);
    for (const float value : row.values) {
      const char* shade = Shade(value);
      text += fmt::format("  {}{}{}{:>3.0f}", shade, shade, shade, 100 * value);
    }
    text += '\n';
  }
  return text;
}

}  // namespace hydrad
