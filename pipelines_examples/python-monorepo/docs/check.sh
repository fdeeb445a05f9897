echo "docs holds"
