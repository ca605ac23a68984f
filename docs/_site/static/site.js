// What the theme leaves out for people who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");
  for (const wide of document.querySelectorAll("pre, .table-wrapper")) {
    wide.tabIndex = 0; // what scrolls must be reached without a mouse
  }
});
