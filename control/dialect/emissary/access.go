// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	"weir.dev/weir/control/build"
)

// The values of envoy_log_type.
const (
	logText      = "text"
	logJSON      = "json"
	logTypedJSON = "typed_json"
)

// logPath is where records go if the Module does not say: Emissary's standard output.
const logPath = "/dev/fd/1"

// Emissary's own formats.
const defaultLogText = `ACCESS [%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`

func defaultLogFields() map[string]string {
	return map[string]string{
		"start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%",
		"response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
		"duration": "%DURATION%", "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
		"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
		"upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%", "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
		"downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%", "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
		"requested_server_name": "%REQUESTED_SERVER_NAME%", "istio_policy_status": "%DYNAMIC_METADATA(istio.mixer:status)%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	}
}

// readLog reads the access log that a Module asks for; nil is none.
func readLog(c *moduleConfig, tell teller) *accesslogv3.AccessLog {
	if c.LogPath == "" && c.LogType == "" && c.LogFormat == nil {
		return nil
	}
	wrong := func(path, format string, args ...any) {
		tell(path, reasonInvalid, "Emissary's own format is written: "+format, args...)
	}
	kind, path := strings.ToLower(c.LogType), c.LogPath
	if path == "" {
		path = logPath
	}
	switch kind {
	case "":
		kind = logText
	case logText, logJSON, logTypedJSON:
	default:
		tell("envoy_log_type", reasonInvalid, "text is written: %q is not one of text, json and typed_json", c.LogType)
		kind = logText
	}
	format := build.LogFormat{Strings: kind == logJSON}
	if kind == logText {
		format.Text = defaultLogText
		text, ok := c.LogFormat.(string)
		switch {
		case c.LogFormat == nil:
		case !ok:
			wrong("envoy_log_format", "of the type text it is a text")
		case build.BadFormat(text) != "":
			wrong("envoy_log_format", "the text %s", build.BadFormat(text))
		case text != "":
			format.Text = text
		}
		return build.FileLog(path, format, nil)
	}
	format.Fields = defaultLogFields()
	if c.LogFormat != nil {
		if own := logFields(c.LogFormat, wrong); own != nil {
			format.Fields = own
		}
	}
	return build.FileLog(path, format, nil)
}

// logFields reads the fields of a record, by their names; nil if they are wrong.
func logFields(in any, wrong func(path, format string, args ...any)) map[string]string {
	fields, ok := in.(map[string]any)
	if !ok || len(fields) == 0 {
		wrong("envoy_log_format", "of the type json it has fields, by their names")
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text, ok := fields[name].(string)
		at := fmt.Sprintf("envoy_log_format[%q]", name)
		switch why := build.BadFormat(text); {
		case !ok:
			wrong(at, "is not a text")
			return nil
		case why != "":
			wrong(at, "the text %s", why)
			return nil
		}
		out[name] = text
	}
	return out
}
