// Runs before the first paint, so that a chosen theme does not flash. A file, since the
// Content-Security-Policy allows no inline script.
try {
  const theme = localStorage.getItem("headwater-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme it is.
}
