// SPDX-License-Identifier: Apache-2.0

//go:build race

package udpproxy_test

const raceEnabled = true
