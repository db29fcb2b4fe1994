// A table for a terminal: columns as wide as their widest cell.
#ifndef HYDRAD_CLIENT_HYDRACTL_TEXT_TABLE_H_
#define HYDRAD_CLIENT_HYDRACTL_TEXT_TABLE_H_

#include <iosfwd>
#include <string>
#include <vector>

namespace hydrad {

// Columns are two spaces apart and left-aligned; an empty cell reads "-", and no line ends in spaces. Widths
// count bytes: names are ASCII.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  // REQUIRES: as many cells as the header has.
  void Add(std::vector<std::string> row);
  void Print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the first is the header
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_TEXT_TABLE_H_
