// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
)

// The levels of Envoy's command line and of its /logging endpoint, as slog levels. slog's own Debug, Info,
// Warn and Error are the four in the middle.
const (
	LevelTrace    = slog.Level(-8)
	LevelDebug    = slog.LevelDebug
	LevelInfo     = slog.LevelInfo
	LevelWarning  = slog.LevelWarn
	LevelError    = slog.LevelError
	LevelCritical = slog.Level(12)
	// LevelOff as a threshold silences a component; no record is written at it.
	LevelOff = slog.Level(math.MaxInt32)
)

// LevelNames lists the names that ParseLevel takes, lowest first. "warn" is taken as well.
func LevelNames() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

// ParseLevel reads the name of a level as Envoy spells it. Case counts, as it does there.
func ParseLevel(name string) (slog.Level, error) {
	switch name {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return LevelDebug, nil
	case "info":
		return LevelInfo, nil
	case "warning", "warn":
		return LevelWarning, nil
	case "error":
		return LevelError, nil
	case "critical":
		return LevelCritical, nil
	case "off":
		return LevelOff, nil
	}
	return 0, fmt.Errorf("unknown log level %q: use one of %s", name, strings.Join(LevelNames(), ", "))
}

// LevelName names the level that l falls in: the highest of the named levels that is not above it.
func LevelName(l slog.Level) string {
	switch {
	case l >= LevelOff:
		return "off"
	case l >= LevelCritical:
		return "critical"
	case l >= LevelError:
		return "error"
	case l >= LevelWarning:
		return "warning"
	case l >= LevelInfo:
		return "info"
	case l >= LevelDebug:
		return "debug"
	}
	return "trace"
}

// A ComponentLevel is the threshold of one component.
type ComponentLevel struct {
	Component string
	Level     slog.Level
}

// ParseComponentLevels reads the value of Envoy's --component-log-level: "upstream:debug,connection:trace".
// An empty value is an empty list. Of several levels for one component the last counts.
func ParseComponentLevels(value string) ([]ComponentLevel, error) {
	if value == "" {
		return nil, nil
	}
	var out []ComponentLevel
	for part := range strings.SplitSeq(value, ",") {
		component, name, ok := strings.Cut(part, ":")
		if !ok || component == "" {
			return nil, fmt.Errorf("component log level %q: write component:level, such as upstream:debug", part)
		}
		level, err := ParseLevel(name)
		if err != nil {
			return nil, fmt.Errorf("component log level %q: %w", part, err)
		}
		out = append(out, ComponentLevel{Component: component, Level: level})
	}
	return out, nil
}
