// SPDX-License-Identifier: Apache-2.0

//go:build race

package header

// poison makes Reset overwrite the arena, so that a test run under the race
// detector sees a view that was kept too long.
const poison = true
