/*
 * libcurl, loaded when the first webhook needs it: with what it pulls in it takes megabytes, and
 * most installations have no webhook. Its functions are called by their usual names.
 */
#pragma once

#include "util.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#define CURL_FUNCTIONS(X)                                                                          \
    X(curl_easy_cleanup)                                                                           \
    X(curl_easy_getinfo)                                                                           \
    X(curl_easy_init)                                                                              \
    X(curl_easy_setopt)                                                                            \
    X(curl_easy_strerror)                                                                          \
    X(curl_free)                                                                                   \
    X(curl_global_init)                                                                            \
    X(curl_multi_add_handle)                                                                       \
    X(curl_multi_cleanup)                                                                          \
    X(curl_multi_info_read)                                                                        \
    X(curl_multi_init)                                                                             \
    X(curl_multi_perform)                                                                          \
    X(curl_multi_poll)                                                                             \
    X(curl_multi_remove_handle)                                                                    \
    X(curl_slist_append)                                                                           \
    X(curl_slist_free_all)                                                                         \
    X(curl_url)                                                                                    \
    X(curl_url_cleanup)                                                                            \
    X(curl_url_get)                                                                                \
    X(curl_url_set)

#undef curl_easy_getinfo
#undef curl_easy_setopt

#define MEMBER(name) __typeof__(&name) name##_p;
struct curl_lib {
    CURL_FUNCTIONS(MEMBER)
};
#undef MEMBER
extern struct curl_lib curl_lib;

/* 0, also when it is there already, or E_UNAVAILABLE. Before any other call. Any thread. */
int curl_load(struct fail *f) MUST_USE;

#define curl_easy_cleanup        curl_lib.curl_easy_cleanup_p
#define curl_easy_getinfo        curl_lib.curl_easy_getinfo_p
#define curl_easy_init           curl_lib.curl_easy_init_p
#define curl_easy_setopt         curl_lib.curl_easy_setopt_p
#define curl_easy_strerror       curl_lib.curl_easy_strerror_p
#define curl_free                curl_lib.curl_free_p
#define curl_multi_add_handle    curl_lib.curl_multi_add_handle_p
#define curl_multi_cleanup       curl_lib.curl_multi_cleanup_p
#define curl_multi_info_read     curl_lib.curl_multi_info_read_p
#define curl_multi_init          curl_lib.curl_multi_init_p
#define curl_multi_perform       curl_lib.curl_multi_perform_p
#define curl_multi_poll          curl_lib.curl_multi_poll_p
#define curl_multi_remove_handle curl_lib.curl_multi_remove_handle_p
#define curl_slist_append        curl_lib.curl_slist_append_p
#define curl_slist_free_all      curl_lib.curl_slist_free_all_p
#define curl_url                 curl_lib.curl_url_p
#define curl_url_cleanup         curl_lib.curl_url_cleanup_p
#define curl_url_get             curl_lib.curl_url_get_p
#define curl_url_set             curl_lib.curl_url_set_p
