// Package docs holds the tests that keep the documentation true: every link leads
// somewhere, every metric is documented, and every test that a page names exists. The
// package has no code of its own.
package docs
