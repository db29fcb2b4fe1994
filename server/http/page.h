// The page for browsers: files of our own, which anybody who reaches the listener may read. What they show
// they ask of the API, with the key of whoever looks at them.
#ifndef HYDRAD_SERVER_HTTP_PAGE_H_
#define HYDRAD_SERVER_HTTP_PAGE_H_

#include <string_view>

#include "server/http/http_message.h"

namespace hydrad {

// Of "/": the page where the client says that it shows pages, as browsers do, else a text that says what is
// here.
HttpAnswer StartAnswer(const RequestHead& head);

// The file of a path, "/" or "/page/NAME": 200, 304 where the client has it already, or 404. Its headers
// keep scripts, styles and connections to this origin, and the page out of the frames of others.
HttpAnswer PageAnswer(const RequestHead& head);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_PAGE_H_
