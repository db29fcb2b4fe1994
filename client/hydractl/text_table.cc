#include "client/hydractl/text_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "server/base/check.h"

namespace hydrad {

void Table::Add(std::vector<std::string> row) {
  HYDRAD_CHECK(row.size() == rows_[0].size());
  for (std::string& cell : row) {
    if (cell.empty()) cell.push_back('-');
  }
  rows_.push_back(std::move(row));
}

void Table::Print(std::ostream& out) const {
  std::vector<size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i + 1 < row.size(); ++i) out << fmt::format("{:<{}}  ", row[i], widths[i]);
    out << row.back() << '\n';
  }
}

}  // namespace hydrad
