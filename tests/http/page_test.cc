#include "server/http/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "server/http/page_files.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

RequestHead Ask(const std::string& path, const std::string& accept = "text/html,*/*;q=0.8") {
  RequestHead head;
  head.method = "GET";
  head.path = path;
  head.accept = accept;
  return head;
}

std::string Header(const HttpAnswer& answer, const std::string& name) {
  return std::map<std::string, std::string>(answer.headers.begin(), answer.headers.end())[name];
}

TEST(PageTest, BrowsersGetThePageAndOthersAText) {
  const HttpAnswer page = StartAnswer(Ask("/"));
  EXPECT_EQ(page.type, "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("<!doctype html>"));
  for (const char* accept : {"", "*/*", "application/json"}) {
    const HttpAnswer text = StartAnswer(Ask("/", accept));
    EXPECT_EQ(text.type, "text/plain; charset=utf-8");
    EXPECT_THAT(text.body, HasSubstr("/v1/chat/completions"));
    EXPECT_EQ(Header(text, "Vary"), "Accept") << "a cache must not give one for the other";
  }
  EXPECT_EQ(Header(page, "Vary"), "Accept");
}

TEST(PageTest, EveryFileIsThereWithItsTypeAndKeptToThisOrigin) {
  const std::map<std::string, std::string> types = {{"html", "text/html; charset=utf-8"},
                                                    {"css", "text/css; charset=utf-8"},
                                                    {"js", "text/javascript; charset=utf-8"},
                                                    {"svg", "image/svg+xml"}};
  size_t all = 0;
  for (const PageFile& file : PageFiles()) {
    SCOPED_TRACE(file.name);
    const HttpAnswer answer = PageAnswer(Ask("/page/" + std::string(file.name)));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, file.bytes);
    EXPECT_FALSE(answer.body.empty());
    EXPECT_EQ(answer.type, types.at(std::string(file.name.substr(file.name.rfind('.') + 1))));
    EXPECT_THAT(Header(answer, "Content-Security-Policy"), HasSubstr("default-src 'self'"));
    EXPECT_THAT(Header(answer, "Content-Security-Policy"), Not(HasSubstr("unsafe")));
    EXPECT_EQ(Header(answer, "X-Content-Type-Options"), "nosniff");
    all += file.bytes.size();
  }
  EXPECT_LT(all, 48u << 10) << "the page is to be small";
}

TEST(PageTest, WhatABrowserHasIsNotSentAgain) {
  RequestHead head = Ask("/page/page.js");
  const std::string etag = Header(PageAnswer(head), "ETag");
  EXPECT_EQ(etag.front(), '"');
  head.if_none_match = "W/\"other\", " + etag;
  const HttpAnswer same = PageAnswer(head);
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.body, "");
  EXPECT_EQ(Header(same, "ETag"), etag);
  head.path = "/page/page.css";
  EXPECT_EQ(PageAnswer(head).status, 200) << "another file has another name";
}

TEST(PageTest, NothingElseIsThere) {
  for (const char* path : {"/page/", "/page/none.js", "/page/../page.js", "/page/embed.cmake"})
    EXPECT_EQ(PageAnswer(Ask(path)).status, 404) << path;
}

}  // namespace
}  // namespace hydrad
