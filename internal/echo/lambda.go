// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// An Invocation is what is answered to an invocation of a function of AWS Lambda: the
// event as it arrived.
type Invocation struct {
	Name string `json:"name"`
	// Function is the ARN that was invoked; AccessKey is that of the signature, which
	// is not verified here.
	Function  string            `json:"function"`
	AccessKey string            `json:"access_key"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Headers   map[string]string `json:"headers"`
	Body      string            `json:"body"`
	Base64    bool              `json:"is_base64_encoded"`
}

// event is a request as a proxy gives it to a function.
type event struct {
	Path    *string           `json:"raw_path"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"is_base64_encoded"`
}

// maxEvent is Lambda's limit of a payload, in bytes.
const maxEvent = 6 << 20

// invoked returns the ARN of the function that a request invokes.
func invoked(r *http.Request) (arn string, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/2015-03-31/functions/")
	if !ok || r.Method != http.MethodPost {
		return "", false
	}
	return strings.CutSuffix(rest, "/invocations")
}

// serveLambda answers as Lambda does for a function that says what it was asked for.
// What is no event of a request is returned as it is.
func serveLambda(name, arn string, w http.ResponseWriter, r *http.Request) {
	key := accessKey(r.Header.Get("Authorization"))
	if key == "" {
		writeJSON(w, http.StatusForbidden, map[string]string{"message": "Missing Authentication Token"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, err)
		return
	}
	if r.Header.Get("X-Amz-Invocation-Type") == "Event" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.Path == nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // The client may have gone; there is nobody to tell.
		return
	}
	ask, err := e.options()
	if err != nil {
		writeJSON(w, http.StatusOK, result(http.StatusBadRequest, name, map[string]string{"error": err.Error()}))
		return
	}
	if !pause(r, ask.delay) {
		return
	}
	writeJSON(w, http.StatusOK, result(ask.status, name, Invocation{
		Name: name, Function: arn, AccessKey: key, Method: e.Method, Path: *e.Path, Headers: e.Headers, Body: e.Body, Base64: e.Base64,
	}))
}

// options are those of the request that the event tells of.
func (e *event) options() (options, error) {
	h := http.Header{}
	for k, v := range e.Headers {
		h.Set(k, v)
	}
	_, query, _ := strings.Cut(*e.Path, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return options{}, fmt.Errorf("read the query: %w", err)
	}
	return parseOptions(q, h)
}

// result is what a function returns.
func result(status int, name string, v any) any {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	return map[string]any{
		"statusCode": status, "body": string(body) + "\n",
		"headers": map[string]string{"content-type": "application/json", "x-echo-name": name},
	}
}

// accessKey is the key that a signature of AWS was made with, "" if there is none.
func accessKey(authorization string) string {
	_, rest, ok := strings.Cut(authorization, "Credential=")
	if !ok || !strings.HasPrefix(authorization, "AWS4-") {
		return ""
	}
	key, _, _ := strings.Cut(rest, "/")
	return key
}
