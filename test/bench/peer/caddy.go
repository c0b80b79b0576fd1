// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/json"
	"fmt"
)

// object is a JSON object of Caddy's configuration.
type object = map[string]any

// caddyConfig: reverse_proxy without the admin endpoint and without HTTPS. X-Forwarded-* are set by default.
func caddyConfig(s Setup) (string, error) {
	if s.Mode != HTTP || s.TLS {
		return "", fmt.Errorf("it is only compared in cleartext HTTP/1.1")
	}
	handle := []object{{
		"handler":   "reverse_proxy",
		"upstreams": []object{{"dial": s.Backend.String()}},
		"transport": object{
			"protocol":    "http",
			"compression": false,
			"keep_alive":  object{"max_idle_conns": 20000, "max_idle_conns_per_host": 1024, "idle_timeout": "1h"},
		},
		"headers": object{"request": object{"set": object{"X-Request-Id": []string{"{http.request.uuid}"}}}},
	}}
	var routes []object
	for i := range s.Hosts {
		routes = append(routes, object{"match": []object{{"host": []string{Host(i)}}}, "handle": handle, "terminal": true})
	}
	for i := range s.Routes {
		routes = append(routes, object{"match": []object{{"path": []string{Route(i) + "*"}}}, "handle": handle, "terminal": true})
	}
	if len(routes) == 0 {
		routes = []object{{"handle": handle}}
	}
	server := object{
		"listen":          []string{s.Listen.String()},
		"routes":          routes,
		"idle_timeout":    "1h",
		"automatic_https": object{"disable": true},
		"protocols":       []string{"h1"},
	}
	logs := object{"default": object{"level": "ERROR"}}
	if s.AccessLog {
		server["logs"] = object{"default_logger_name": "access"}
		logs["access"] = object{
			"writer":  object{"output": "file", "filename": s.LogFile(), "roll": false},
			"include": []string{"http.log.access.access"},
		}
	}
	b, err := json.MarshalIndent(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": logs},
		"apps":    object{"http": object{"servers": object{"bench": server}}},
	}, "", " ")
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return string(b), nil
}
