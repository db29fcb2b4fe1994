// A request and an answer of HTTP/1.1 as plain structs: what the translation to and from JSON sees of HTTP.
#ifndef HYDRAD_SERVER_HTTP_HTTP_MESSAGE_H_
#define HYDRAD_SERVER_HTTP_HTTP_MESSAGE_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hydrad {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

// The head of a request.
struct RequestHead {
  std::string method;         // as it was sent: "GET", "POST", ...
  std::string path;           // without the query, not unescaped; begins with '/'
  std::string authorization;  // "" if there is none
  bool authorized_twice = false;
  std::string request_id;    // what the client calls its request (x-request-id), or "" if it may not be told
  std::string origin, host;  // of the page whose script asks, "" outside of a browser; whom it asks
  // What a browser asks before a page's script may ask so: a method and a list of fields; else "".
  std::string wanted_method, wanted_fields;
  std::string accept;         // the types that the client would like
  std::string if_none_match;  // the ETags of what it has
  std::string peer;           // as gRPC names it: "ipv4:127.0.0.1:40404"
  bool http10 = false;        // a client of HTTP/1.0, which knows no chunks
  bool keep_alive = true;     // the client may send another request on this connection
  bool expects_continue = false;
  bool has_body = false;
};

// A whole answer.
struct HttpAnswer {
  int status = 200;
  std::string body{};
  std::string type = "application/json";
  HttpFields headers{};  // beside those that every answer has
};

// "OK" for 200; the standard's phrase for every status that is used here.
std::string_view ReasonPhrase(int status);

// Returns whether a client's name of its request may be told in the log and sent back: 1 to 128 printable
// characters of ASCII without spaces, quotes and backslashes.
bool IsRequestName(std::string_view name);

// Returns `text` with each %XX replaced by its byte; `text` as it is where one is broken.
std::string Unescaped(std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_HTTP_MESSAGE_H_
