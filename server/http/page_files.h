// The files of the page (the folder page/), which the build puts into the program.
#ifndef HYDRAD_SERVER_HTTP_PAGE_FILES_H_
#define HYDRAD_SERVER_HTTP_PAGE_FILES_H_

#include <span>
#include <string_view>

namespace hydrad {

struct PageFile {
  std::string_view name;  // "index.html"
  std::string_view etag;  // in quotation marks: other bytes have another one
  std::string_view bytes;
};

// All of them, for as long as the program runs.
std::span<const PageFile> PageFiles();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_PAGE_FILES_H_
