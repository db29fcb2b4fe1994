// A table of weights as a heat map for a terminal.
#ifndef HYDRAD_CLIENT_HYDRACTL_HEAT_MAP_H_
#define HYDRAD_CLIENT_HYDRACTL_HEAT_MAP_H_

#include <string>
#include <vector>

#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// One line of the map.
struct HeatRow {
  std::string label;
  std::vector<float> values;  // 0 to 1
};

// The mean weights of a routing, a row for each layer (over its projections that have as many experts as the
// first), or for each router.
std::vector<HeatRow> LayerRows(const v1::Routing& routing);
std::vector<HeatRow> RouterRows(const v1::Routing& routing);

// A header of column numbers, then each row: its label, and for each value a block that is the fuller the
// larger it is, and the value in percent.
std::string DrawHeatMap(const std::vector<HeatRow>& rows);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_HEAT_MAP_H_
